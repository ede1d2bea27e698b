import copy

import pytest
import torch
from torch import nn
from torchvision import models

from pyg_ghn.architectures.small_images import adapt_to_small_images, torchvision_small
from pyg_ghn.errors import ArchitectureError

SIDES = (8, 16, 32)
# One network of each family, and the side of its last feature map for 8, 16 and 32 pixels. AlexNet
# pools without padding, VGG once more after its last convolution.
NETWORKS = {
    "alexnet": (3, 7, 7),
    "convnext_tiny": (2, 4, 4),
    "densenet121": (2, 4, 4),
    "efficientnet_b0": (2, 4, 4),
    "googlenet": (2, 4, 4),
    "mnasnet0_5": (2, 4, 4),
    "mobilenet_v2": (2, 4, 4),
    "mobilenet_v3_small": (2, 4, 4),
    "regnet_x_400mf": (2, 4, 4),
    "resnet18": (2, 4, 4),
    "resnet50": (2, 4, 4),
    "shufflenet_v2_x0_5": (2, 4, 4),
    "squeezenet1_0": (2, 4, 4),
    "squeezenet1_1": (2, 4, 4),
    "vgg11_bn": (4, 8, 8),
}
HUGE_CLASSIFIERS = {"alexnet", "vgg11_bn"}  # run on the meta device


def build(name):
    with torch.device("meta" if name in HUGE_CLASSIFIERS else "cpu"):
        return torchvision_small(name, 7, (3, 224, 224))


def last_side(model, images):
    """Forward pass; side of the map that the last convolution of the trunk makes."""
    sides = []
    hooks = [
        module.register_forward_hook(lambda module, args, out: sides.append(out.shape[-1]))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    return logits, next(side for side in reversed(sides) if side > 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_sees_small_images(name):
    original = build(name)
    shapes = {key: param.shape for key, param in original.named_parameters()}
    for side, expected in zip(SIDES, NETWORKS[name], strict=True):
        model = copy.deepcopy(original)
        size = (3, side, side)
        assert adapt_to_small_images(model, size) is model
        assert {key: param.shape for key, param in model.named_parameters()} == shapes
        device = next(model.parameters()).device
        logits, last = last_side(model.train(), torch.randn(2, *size, device=device))
        assert logits.shape == (2, 7) and last == expected
        assert device.type == "meta" or logits.isfinite().all()


def strided(model):
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    strides = {name: model.get_submodule(name).stride for name in names}
    return {name for name, stride in strides.items() if stride not in (1, (1, 1))}


@pytest.mark.parametrize(
    ("side", "removed"),
    [
        (224, set()),
        (128, set()),
        (64, {"conv1"}),
        (32, {"conv1", "maxpool"}),
        (16, {"conv1", "maxpool", "layer2.0.conv1", "layer2.0.downsample.0"}),
        (8, {"conv1", "maxpool", "layer2.0.conv1", "layer2.0.downsample.0"}),
    ],
)
def test_the_earliest_strides_go_and_no_more_than_needed(side, removed):
    model = models.resnet18()
    before = strided(model)
    adapt_to_small_images(model, (3, side, side))
    assert before - strided(model) == removed
    assert isinstance(model.maxpool, nn.Identity if "maxpool" in removed else nn.MaxPool2d)
    again = strided(adapt_to_small_images(model, (3, side, side)))
    assert again == before - removed


def test_the_shorter_side_counts():
    model = models.resnet18()
    adapt_to_small_images(model, (3, 224, 32))
    assert "conv1" not in strided(model)


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (4, 2), (7, 3)])
def test_padding_keeps_the_size(kernel, padding):
    model = models.resnet18()
    model.conv1 = nn.Conv2d(3, 64, kernel, stride=2)
    adapt_to_small_images(model, (3, 32, 32))
    assert model.conv1.padding == (padding, padding)
    assert model.conv1(torch.zeros(1, 3, 32, 32)).shape[-1] == 32 + (kernel % 2 == 0)


def test_own_model_of_a_known_class():
    class Own(models.ResNet):
        pass

    model = Own(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3)
    adapt_to_small_images(model, (3, 8, 8))
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_unknown_class():
    with pytest.raises(ArchitectureError, match=r"No rule adapts VisionTransformer .*patch_size"):
        torchvision_small("vit_b_32", 10, (3, 32, 32))
    with pytest.raises(ArchitectureError, match=r"No rule adapts Sequential .*stride"):
        adapt_to_small_images(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2)), (3, 8, 8))


@pytest.mark.parametrize("size", [(32, 32), (3, 0, 32)])
def test_input_size(size):
    with pytest.raises(ArchitectureError, match=r"must be \(3, height, width\), got"):
        adapt_to_small_images(models.squeezenet1_1(), size)


@pytest.mark.parametrize("name", ["resnet19", "fasterrcnn_resnet50_fpn"])
def test_unknown_name(name):
    with pytest.raises(ArchitectureError, match=f"no classification model '{name}'"):
        torchvision_small(name, 10)


def test_no_auxiliary_heads_and_dropout_untouched():
    model = torchvision_small("googlenet", 10, (3, 32, 32))
    assert model.aux1 is None and model.aux2 is None
    assert isinstance(model.train()(torch.randn(2, 3, 32, 32)), torch.Tensor)
    assert torchvision_small("mobilenet_v2", 10).classifier[0].p == 0.2
