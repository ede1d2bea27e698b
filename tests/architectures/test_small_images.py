import math

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn
from torchvision import models
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    ShiftedWindowAttention,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import ConvStemConfig

from pyg_ghn.architectures import adapt_to_small_images, torchvision_model
from pyg_ghn.architectures.small_images import DenseMerging
from pyg_ghn.errors import ArchitectureError

SIDES = (32, 16, 8)
# Sides of the last feature maps, (4, 4, 2) where nothing is said. AlexNet pools without padding,
# VGG once more after its last convolution.
LAST_SIDES = {"alexnet": (7, 7, 3), "vgg": (8, 8, 4), "vit": (8, 8, 4)}


def last_sides(model):
    """Hooks a model: what they append to is the side of what the last convolution of the trunk, the
    last stage of Swin or the encoder of a VisionTransformer makes."""
    sides = []

    def hook(module, side):
        module.register_forward_hook(lambda module, args, out: sides.append(side(out.shape)))

    if isinstance(model, models.SwinTransformer):
        hook(model.norm, lambda shape: shape[1])
    elif isinstance(model, models.VisionTransformer):
        hook(model.encoder, lambda shape: math.isqrt(shape[1] - 1))
    else:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                hook(module, lambda shape: shape[-1])
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
        assert run(model.train(side != 16), side) == [(2, 10)]  # of one head
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
        kept = "stride padding window_size shift_size p g image_size patch_size".split()
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


def test_own_model_of_a_known_class_and_images_that_are_no_squares():
    class Own(models.ResNet):
        pass

    model = Own(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3)
    adapt_to_small_images(model, (3, 8, 8))
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert "conv1" not in strided(adapt_to_small_images(models.resnet18(), (3, 224, 32)))
    assert torchvision_model("mobilenet_v2", 10).classifier[0].p == 0.2  # dropout stays


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (4, 2), (7, 3)])
def test_padding_keeps_the_size(kernel, padding):
    model = models.resnet18()
    model.conv1 = nn.Conv2d(3, 64, kernel, stride=2)
    adapt_to_small_images(model, (3, 32, 32))
    assert model.conv1.padding == (padding, padding)
    assert model.conv1(torch.zeros(1, 3, 32, 32)).shape[-1] == 32 + (kernel % 2 == 0)


@pytest.mark.parametrize("name", ["maxvit_t", "vit_b_32"])
def test_squares_only(name):
    with torch.device("meta"):
        model = models.get_model(name)
    before = str(model)
    with pytest.raises(ArchitectureError, match="squares only, got 32 x 16 pixels"):
        adapt_to_small_images(model, (3, 32, 16))
    assert str(model) == before


def test_what_cannot_be_adapted():
    with pytest.raises(ArchitectureError, match=r"No rule adapts Sequential .*stride"):
        adapt_to_small_images(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2)), (3, 8, 8))
    for size in ((32, 32), (3, 0, 32)):
        with pytest.raises(ArchitectureError, match=r"must be \(3, height, width\), got"):
            adapt_to_small_images(models.squeezenet1_1(), size)
    for name in ("resnet19", "fasterrcnn_resnet50_fpn"):
        with pytest.raises(ArchitectureError, match=f"no classification model '{name}'"):
            torchvision_model(name, 10)
    with pytest.raises(ArchitectureError, match="convolutional stem"):
        adapt_to_small_images(vit(conv_stem_configs=[ConvStemConfig(8, 3, 2)]), (3, 32, 32))


def swin(version=1):
    blocks = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    blocks = {} if version == 1 else blocks
    return SwinTransformer([4, 4], 8, [2] * 4, [1, 2, 2, 2], [7, 7], num_classes=10, **blocks)


def vit(image_size=224, patch_size=16, **options):
    return VisionTransformer(image_size, patch_size, 2, 2, 16, 32, num_classes=10, **options)


def maxvit():
    return MaxVit((224, 224), 8, 7, [8, 8], [1, 1], 4, 0.0, num_classes=10)


def attentions(model):
    kinds = ShiftedWindowAttention, PartitionAttentionLayer
    return [module for module in model.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("kind", [PatchMerging, PatchMergingV2])
def test_dense_merging_has_the_merging_at_every_second_position(kind):
    merging = kind(6)
    x = torch.randn(2, 8, 10, 6)
    dense = DenseMerging(merging)
    assert dense(x).shape == (2, 8, 10, 12)
    assert torch.allclose(dense(x)[:, ::2, ::2], merging(x), atol=1e-6)
    assert {*dense.state_dict()} == {*merging.state_dict()}


@pytest.mark.parametrize("make", [swin, maxvit, vit])
def test_nothing_changes_for_large_images(make):
    model = make()
    windows = [getattr(a, "window_size", None) for a in attentions(model)]
    before, state = str(model), {name: t.clone() for name, t in model.state_dict().items()}
    adapt_to_small_images(model, (3, 224, 224))
    assert str(model) == before
    assert [getattr(a, "window_size", None) for a in attentions(model)] == windows
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


class TestSwin:
    @pytest.mark.parametrize("version", [1, 2])
    def test_windows(self, version):
        model = swin(version)
        adapt_to_small_images(model, (3, 16, 16))
        assert [a.window_size for a in attentions(model)] == [[4, 4]] * 6 + [[4, 4]] * 2
        assert [a.shift_size for a in attentions(model)] == [[0, 0], [2, 2]] * 4
        assert model.eval()(torch.randn(2, 3, 16, 16)).isfinite().all()

    @pytest.mark.parametrize("version", [1, 2])
    def test_smaller_windows_have_the_biases_of_larger_ones(self, version):
        model = swin(version)
        before = [a.get_relative_position_bias().unflatten(-1, (7, 7)).unflatten(-3, (7, 7))
                  for a in attentions(model)]  # fmt: skip
        adapt_to_small_images(model, (3, 8, 12))
        for attention, old in zip(attentions(model), before, strict=True):
            h, w = attention.window_size
            new = attention.get_relative_position_bias().unflatten(-1, (h, w)).unflatten(-3, (h, w))
            assert torch.equal(new, old[..., :h, :w, :h, :w])

    def test_images_that_are_no_squares(self):
        model = adapt_to_small_images(swin(), (3, 18, 30))
        assert model.eval()(torch.randn(2, 3, 18, 30)).isfinite().all()
        assert attentions(model)[0].window_size == [5, 5]  # 9 x 15 positions


@pytest.mark.parametrize(("side", "partitions"), [(32, (4, 4)), (28, (7, 7)), (8, (4, 2))])
def test_partitions_of_maxvit(side, partitions):
    model = adapt_to_small_images(maxvit(), (3, side, side))
    window, grid = attentions(model)[2:]
    assert window.p == grid.g == partitions[1] and attentions(model)[0].p == partitions[0]
    assert window.g == grid.p == window.grid_size[0] // window.p
    assert model.eval()(torch.randn(2, 3, side, side)).isfinite().all()


class TestVisionTransformer:
    @pytest.mark.parametrize(
        ("patch", "side", "stride"),
        [(16, 8, 2), (16, 16, 2), (16, 28, 4), (16, 32, 4), (16, 64, 8), (16, 128, 16),
         (32, 96, 12), (14, 30, 4), (5, 9, 1), (5, 23, 3), (16, 31, 4)],
    )  # fmt: skip
    def test_tokens(self, patch, side, stride):
        model = adapt_to_small_images(vit(patch * 4, patch), (3, side, side))
        assert (
            model.conv_proj.stride == (stride, stride) and model.conv_proj.kernel_size[0] == patch
        )
        assert model.encoder.pos_embedding.shape == (1, (side // stride) ** 2 + 1, 16)
        nn.init.normal_(model.heads.head.weight)
        logits = model.eval()(torch.randn(2, 3, side, side))
        assert logits.shape == (2, 10) and logits.isfinite().all()

    def test_every_pixel_counts(self):
        model = adapt_to_small_images(vit(), (3, 31, 31)).eval()
        nn.init.normal_(model.heads.head.weight)
        images = torch.randn(1, 3, 31, 31, requires_grad=True)
        model(images).sum().backward()
        assert (images.grad != 0).all()

    def test_position_embedding_is_interpolated(self):
        model = vit()
        ramp = torch.linspace(0, 1, 14).repeat(14)[None, :, None].expand(1, 196, 16)
        model.encoder.pos_embedding.data[:, 1:] = ramp
        token = model.encoder.pos_embedding[:, :1].clone()
        model.encoder.pos_embedding.requires_grad_(False)
        adapt_to_small_images(model, (3, 32, 32))
        position = model.encoder.pos_embedding
        assert isinstance(position, nn.Parameter) and not position.requires_grad
        assert torch.equal(position[:, :1], token)
        assert torch.allclose(position[0, 1:9, 0], torch.linspace(0, 1, 8), atol=0.02)
