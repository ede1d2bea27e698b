import math

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn
from torchvision import models

from pyg_ghn.architectures import adapt_to_small_images, torchvision_model
from pyg_ghn.errors import ArchitectureError

SIDES = (32, 16, 8)
# Sides of the last feature maps, (4, 4, 2) where nothing is said. AlexNet pools without padding,
# VGG once more after its last convolution.
LAST_SIDES = {"alexnet": (7, 7, 3), "vgg": (8, 8, 4), "vit": (8, 8, 4)}


def last_sides(model):
    """Hooks a model: what they append to is the side of what the last convolution of the trunk, the
    last stage of Swin or the encoder of a VisionTransformer makes."""
    sides = []
    if isinstance(model, models.SwinTransformer):
        model.norm.register_forward_hook(lambda module, args, out: sides.append(out.shape[1]))
    elif isinstance(model, models.VisionTransformer):
        model.encoder.register_forward_hook(
            lambda module, args, out: sides.append(math.isqrt(out.shape[1] - 1))
        )
    else:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda module, args, out: sides.append(out.shape[-1]))
    return sides


def run(model, side):
    """The shapes of what comes out of a forward pass on the meta device."""
    with torch.no_grad():
        outputs = model.to("meta")(torch.empty(2, 3, side, side, device="meta"))
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return [tuple(out.shape) for out in outputs]


def shapes_of(model):
    shapes = {name: p.shape for name, p in model.named_parameters()}
    shapes.pop("encoder.pos_embedding", None)
    return shapes


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_model_sees_small_images(name):
    # As on the meta device, where torchvision's own RegNet can't be built.
    with init_empty_weights():
        model = torchvision_model(name, 10, (3, 224, 224))
    shapes, sides = shapes_of(model), last_sides(model)
    family = next((family for family in LAST_SIDES if name.startswith(family)), None)
    for side, expected in zip(SIDES, LAST_SIDES.get(family, (4, 4, 2)), strict=True):
        assert adapt_to_small_images(model, (3, side, side)) is model
        assert shapes_of(model) == shapes
        sides.clear()
        assert run(model.train(side != 16), side) == [(2, 10)]
        assert next(side for side in reversed(sides) if side > 1) == expected


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads(name):
    with torch.device("meta"):
        model = models.get_model(name, num_classes=10, init_weights=False)
    for side in SIDES:
        adapt_to_small_images(model, (3, side, side))
        assert run(model.train(), side) == [(2, 10)] * (3 if name == "googlenet" else 2)


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "swin_v2_t", "vit_b_32"])
def test_one_size_after_the_other(name):
    def sizes(model):
        kept = (
            "stride",
            "padding",
            "window_size",
            "shift_size",
            "p",
            "g",
            "image_size",
            "patch_size",
        )
        return [[getattr(module, key, None) for key in kept] for module in model.modules()]

    with torch.device("meta"):
        direct, stepwise = (torchvision_model(name, 10, (3, side, side)) for side in (8, 64))
        for side in (32, 16, 8):
            adapt_to_small_images(stepwise, (3, side, side))
    assert sizes(direct) == sizes(stepwise)
    assert sizes(adapt_to_small_images(direct, (3, 8, 8))) == sizes(stepwise)


@pytest.mark.parametrize("side", [8, 30])
@pytest.mark.parametrize("name", ["resnet18", "inception_v3"])
def test_real_images(name, side):
    model = torchvision_model(name, 7, (3, side, side)).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 7) and logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])


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


@pytest.mark.parametrize("name", ["maxvit_t", "vit_b_32"])
def test_squares_only(name):
    with torch.device("meta"):
        model = models.get_model(name)
    before = str(model)
    with pytest.raises(ArchitectureError, match="squares only, got 32 x 16 pixels"):
        adapt_to_small_images(model, (3, 32, 16))
    assert str(model) == before


def test_unknown_class():
    with pytest.raises(ArchitectureError, match=r"No rule adapts Sequential .*stride"):
        adapt_to_small_images(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2)), (3, 8, 8))


@pytest.mark.parametrize("size", [(32, 32), (3, 0, 32)])
def test_input_size(size):
    with pytest.raises(ArchitectureError, match=r"must be \(3, height, width\), got"):
        adapt_to_small_images(models.squeezenet1_1(), size)


@pytest.mark.parametrize("name", ["resnet19", "fasterrcnn_resnet50_fpn"])
def test_unknown_name(name):
    with pytest.raises(ArchitectureError, match=f"no classification model '{name}'"):
        torchvision_model(name, 10)


def test_no_auxiliary_heads_and_dropout_untouched():
    model = torchvision_model("googlenet", 10, (3, 32, 32))
    assert model.aux1 is None and model.aux2 is None
    assert isinstance(model.train()(torch.randn(2, 3, 32, 32)), torch.Tensor)
    assert torchvision_model("mobilenet_v2", 10).classifier[0].p == 0.2
