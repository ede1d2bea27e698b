import pytest
import torch
from torch import nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    ShiftedWindowAttention,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import ConvStemConfig

from pyg_ghn.architectures import adapt_to_small_images
from pyg_ghn.architectures.small_images import DenseMerging
from pyg_ghn.errors import ArchitectureError


def swin(version=1):
    blocks = {} if version == 1 else {"block": SwinTransformerBlockV2,
                                      "downsample_layer": PatchMergingV2}  # fmt: skip
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


class TestMaxVit:
    @pytest.mark.parametrize(("side", "partitions"), [(32, (4, 4)), (28, (7, 7)), (8, (4, 2))])
    def test_partitions(self, side, partitions):
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

    def test_what_cannot_be_adapted(self):
        stem = [ConvStemConfig(8, 3, 2)]
        with pytest.raises(ArchitectureError, match="convolutional stem"):
            adapt_to_small_images(vit(conv_stem_configs=stem), (3, 32, 32))
