import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50
from torchvision.models.vgg import cfgs, make_layers
from torchvision.models.vision_transformer import VisionTransformer

from pyg_ghn.errors import ConfigError
from pyg_ghn.initializers import select_weights


def test_evenly_spaced_elements():
    larger = nn.Sequential(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Linear(10, 5))
    model = nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Linear(4, 5))
    larger[1].running_var.copy_(torch.arange(8.0))
    larger[1].num_batches_tracked.fill_(7)
    before = copy.deepcopy(larger.state_dict())
    assert select_weights(model, larger) is model
    # Of 8, which 3 does not divide: from end to end. Of 6: every second.
    assert torch.equal(model[0].weight, larger[0].weight[[0, 4, 7]][:, [0, 2, 4]])
    assert model[1].running_var.tolist() == [0, 4, 7] and model[1].num_batches_tracked == 7
    assert torch.equal(model[2].weight, larger[2].weight[:, [0, 3, 6, 9]])
    assert torch.equal(model[2].bias, larger[2].bias)
    assert all(torch.equal(v, before[n]) for n, v in larger.state_dict().items())
    narrow = select_weights(
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()), nn.Sequential(nn.Conv2d(5, 2, 3))
    )
    assert narrow[0].weight.shape == (1, 1, 3, 3)


def test_by_name_the_first_layers_of_each_stage():
    small = resnet18(num_classes=7)
    larger = resnet34(num_classes=10)
    head = small.fc.weight.detach().clone()
    select_weights(small, larger)
    assert torch.equal(small.fc.weight, head)  # other classes
    assert torch.equal(small.layer3[1].conv2.weight, larger.layer3[1].conv2.weight)
    assert torch.equal(
        small.layer2[0].downsample[1].running_var, larger.layer2[0].downsample[1].running_var
    )
    small = resnet18(num_classes=10)
    select_weights(small, larger)
    assert torch.equal(small.fc.weight, larger.fc.weight)


def test_in_order_where_names_differ():
    small, larger = (
        make_layers([n if n == "M" else n // 16 for n in cfgs[name]], batch_norm=True)
        for name in "AD"
    )
    select_weights(small, larger)
    # Convolutions 1 to 8 of VGG-11 and those of VGG-16: the first of each stage.
    pairs = zip((0, 4, 8, 11, 15, 18, 22, 25), (0, 7, 14, 17, 24, 27, 30, 34), strict=True)
    for own, other in pairs:
        assert torch.equal(small[own].weight, larger[other].weight), own
        assert torch.equal(small[own].bias, larger[other].bias)


def test_attention_takes_heads_of_the_larger_one():
    small = VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=4)
    larger = VisionTransformer(32, 16, 3, 4, 16, 32, num_classes=4)
    small.double()
    select_weights(small, larger)
    own, other = (m.encoder.layers[0].self_attention.in_proj_weight for m in (small, larger))
    assert own.dtype is torch.float64
    assert torch.equal(own.float(), other[::2, ::2])
    assert torch.equal(small.encoder.pos_embedding.float(), larger.encoder.pos_embedding[..., ::2])
    assert torch.equal(small.heads.head.weight.float(), larger.heads.head.weight[:, ::2])


def test_nothing_fits():
    small = resnet18()
    before = copy.deepcopy(small.state_dict())
    with pytest.raises(ConfigError, match=r"'layer1.0.conv2.weight' \(64, 64, 3, 3\).*ResNet"):
        select_weights(small, resnet50())
    with pytest.raises(ConfigError, match=r"'conv1.weight'.*Linear has no .*'conv\*'"):
        select_weights(small, nn.Linear(3, 3))
    assert all(torch.equal(v, before[n]) for n, v in small.state_dict().items())
    with pytest.raises(ConfigError, match=r"'layer1\.2\.conv1\.weight'"):
        select_weights(resnet34(), small)
