r"""torchvision's classification models for small images."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.maxvit import PartitionAttentionLayer
from torchvision.models.swin_transformer import PatchMerging, PatchMergingV2, ShiftedWindowAttention
from torchvision.models.vision_transformer import interpolate_embeddings

from pyg_ghn.errors import ArchitectureError

_FINAL_SIDE = 4  # of the last feature map, which is aimed at
_LEAST_STRIDE = 4  # total stride that even the smallest images may have
_LEAST_TOKENS = 7  # side of a VisionTransformer's tokens for the smallest images it is made for


def adapt_to_small_images(model: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
    r"""Lets a torchvision classification model, made for 224 x 224 pixels, see small images.

    The total stride is brought down to at most :math:`\max(4, \min(H, W) / 4)`, so that 32 x 32 and
    16 x 16 pixels end in feature maps of about 4 x 4, and 8 x 8 pixels in 2 x 2. For that the
    earliest down-sampling steps, and no more of them than needed, are taken out:

    ==================  ===========================================================================
    step                becomes
    ==================  ===========================================================================
    convolution         stride one, with a padding that keeps the size (even kernels: a pixel more)
    pooling             :class:`~torch.nn.Identity`
    Swin's patches      stride two, with overlap: the kernel stays
    Swin's merging      a merging of each position with its neighbors, without stride
    ==================  ===========================================================================

    What depends on the size of the image or of a map is fitted to it:

    ==================  ===========================================================================
    VisionTransformer   patches overlap: the kernel stays, the stride gives 7 x 7 tokens or a few
                        more (4 x 4 for 8 x 8 pixels); the position embedding is interpolated
    SwinTransformer     windows as large as before or smaller, to fill the maps evenly
    MaxVit              windows and grids as large as before or smaller, to divide the maps
    Inception3          convolutions and pooling of the stem are padded, to make up for what the
                        later ones, which have no padding, take away
    ==================  ===========================================================================

    Parameters keep their names and, but for the position embedding, their shapes. For images of 128
    or more pixels convolutional networks stay as they are.

    Args:
        model (torch.nn.Module): A classification model of torchvision, of any family. Changed in
            place.
        input_size (tuple): Size of an image, :math:`(3, H, W)`.

    Returns:
        The model itself.

    Raises:
        ArchitectureError: If the model is of another class, or is a VisionTransformer or MaxVit and
            the image no square.
    """
    if len(input_size) != 3 or min(input_size) < 1:
        raise ArchitectureError(f"input_size must be (3, height, width), got {input_size}.")
    family, (_, height, width) = _family_of(model), input_size
    if family.squares_only and height != width:
        raise ArchitectureError(
            f"A {type(model).__qualname__} sees squares only, got {height} x {width} pixels."
        )
    allowed = max(_LEAST_STRIDE, min(height, width) // _FINAL_SIDE)
    for unit in list(family.units(model)):
        if math.prod(map(_stride_of, family.units(model))) <= allowed:
            break
        _take_out(model, unit, family.stride)
    family.fit(model, height, width)
    return model


class DenseMerging(nn.Module):
    r"""Swin's patch merging of every position with its three neighbors, by the layers of
    torchvision's but without a stride: :math:`(*, H, W, C)` becomes :math:`(*, H, W, 2C)`."""

    def __init__(self, merging: nn.Module) -> None:
        super().__init__()
        self.reduction = merging.reduction
        self.norm = merging.norm
        self.norm_first = isinstance(merging, PatchMerging)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-3:-1]
        x = F.pad(x, (0, 0, 0, 1, 0, 1))
        corners = ((0, 0), (1, 0), (0, 1), (1, 1))
        x = torch.cat([x[..., i : i + height, j : j + width, :] for i, j in corners], dim=-1)
        return self.reduction(self.norm(x)) if self.norm_first else self.norm(self.reduction(x))


class _Family(NamedTuple):
    """How the models of a class are adapted."""

    # Parts in forward order. All strided layers of a part lie side by side in parallel branches, so
    # that the stride of the part is that of any of them.
    units: Callable[[nn.Module], Iterable[nn.Module]]
    # What is done with the model, a height and a width after the stride is right.
    fit: Callable[[nn.Module, int, int], None] = lambda model, height, width: None
    stride: int = 1  # that convolutions get in place of a larger one
    squares_only: bool = False


def _family_of(model: nn.Module) -> _Family:
    children = _Family(lambda model: model.children())
    features = _Family(lambda model: model.features)
    families = {
        models.AlexNet: features,
        models.ConvNeXt: features,
        models.DenseNet: features,
        models.EfficientNet: features,
        models.GoogLeNet: children,
        models.Inception3: children._replace(fit=_pad_stem),
        models.MaxVit: _Family(
            lambda model: [model.stem, *model.blocks], _fit_attentions, squares_only=True
        ),
        models.MNASNet: _Family(lambda model: model.layers),
        models.MobileNetV2: features,
        models.MobileNetV3: features,
        models.RegNet: _Family(lambda model: [model.stem, *model.trunk_output]),
        models.ResNet: children,
        models.ShuffleNetV2: children,
        models.SqueezeNet: features,
        models.SwinTransformer: features._replace(fit=_fit_attentions, stride=2),
        models.VGG: features,
        models.VisionTransformer: _Family(lambda model: [], _fit_tokens, squares_only=True),
    }
    for cls, family in families.items():
        if isinstance(model, cls):
            return family
    raise ArchitectureError(
        f"No rule adapts {type(model).__qualname__} to small images. Build it for them, or set the "
        "`stride` of its first convolutions to 1 and replace its first pooling layers by "
        "torch.nn.Identity."
    )


def _stride_of(unit: nn.Module) -> int:
    return max((_stride(module) for module in unit.modules()), default=1)


def _stride(module: nn.Module) -> int:
    if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return module.stride if isinstance(module.stride, int) else max(module.stride)
    return 2 if isinstance(module, (PatchMerging, PatchMergingV2)) else 1


def _take_out(model: nn.Module, unit: nn.Module, stride: int) -> None:
    for module in [module for module in unit.modules() if _stride(module) > 1]:
        if isinstance(module, nn.Conv2d):
            module.stride = (stride, stride)
            module.padding = _padding(module, stride)
            continue
        pool = isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))
        new = nn.Identity() if pool else DenseMerging(module)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if child is module:
                    setattr(parent, name, new)


def _padding(conv: nn.Conv2d, stride: int) -> tuple[int, ...]:
    """With it a map is as large as the stride says, a pixel larger where it would be uneven."""
    reach = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return tuple(math.ceil((n - stride + 1) / 2) for n in reach)


def _fit_tokens(model: nn.Module, height: int, width: int) -> None:
    """Makes a VisionTransformer see squares of another size, in at least 7 x 7 patches: the kernel
    stays, and where it is too large for that, patches overlap."""
    conv = model.conv_proj
    if not isinstance(conv, nn.Conv2d):
        raise ArchitectureError("A VisionTransformer with a convolutional stem can't be adapted.")
    kernel = conv.kernel_size[0]
    stride = min(kernel, height // _LEAST_TOKENS)
    # Only with an even overlap the number of patches is right for every height.
    stride = max(stride - (kernel - stride) % 2, 2 - kernel % 2)
    conv.stride, conv.padding = (stride, stride), ((kernel - stride) // 2,) * 2
    model.image_size, model.patch_size = height, stride
    model.seq_length = (height // stride) ** 2 + 1
    name, position = "encoder.pos_embedding", model.encoder.pos_embedding
    resized = interpolate_embeddings(height, stride, {name: position.detach()})[name]
    model.encoder.pos_embedding = nn.Parameter(resized, position.requires_grad)


def _fit_attentions(model: nn.Module, height: int, width: int) -> None:
    """Fits the windows of Swin and MaxVit to their maps; smaller ones use a part of the tables."""
    for unit in _family_of(model).units(model):
        stride = _stride_of(unit)
        height, width = math.ceil(height / stride), math.ceil(width / stride)
        for module in unit.modules():
            if isinstance(module, ShiftedWindowAttention):
                # As few windows as possible, and of these the smallest that cover the map.
                side = _table_side(module)
                most = (side + 1) // 2
                window = [math.ceil(n / math.ceil(n / most)) for n in (height, width)]
                shifted = any(module.shift_size)
                module.window_size, module.shift_size = window, [n // 2 * shifted for n in window]
                _set_index(module, window, side)
            elif isinstance(module, PartitionAttentionLayer):
                # The largest partition that divides the map: others are not possible.
                attention = module.attn_layer[1]
                side = _table_side(attention)
                size = max(n for n in range(1, (side + 1) // 2 + 1) if height % n == 0)
                times, grid = height // size, module.partition_type == "grid"
                module.grid_size, module.n_partitions = (height, width), times
                module.p, module.g = (times, size) if grid else (size, times)
                attention.size, attention.max_seq_len = size, size * size
                _set_index(attention, [size, size], side)


def _table_side(attention: nn.Module) -> int:
    """How many offsets along one axis the table of position biases holds."""
    coordinates = getattr(attention, "relative_coords_table", None)  # of Swin v2's computed table
    if coordinates is not None:
        return coordinates.size(1)
    return math.isqrt(attention.relative_position_bias_table.size(0))


def _set_index(attention: nn.Module, window: list[int], side: int) -> None:
    """For each pair of positions in a window the row of its offset in the table."""
    old = attention.relative_position_index
    rows, columns = (torch.arange(n, device=old.device) for n in window)
    rows, columns = (n[:, None] - n + side // 2 for n in (rows, columns))
    index = rows[:, None, :, None] * side + columns[None, :, None, :]
    positions = math.prod(window)
    attention.relative_position_index = index.reshape(
        (-1,) if old.dim() == 1 else (positions, positions)
    )


def _pad_stem(model: nn.Module, height: int, width: int) -> None:
    """Two steps without padding are still to come: they make 4n + 3 positions n."""
    first, pools = model.Conv2d_1a_3x3.conv, [model.maxpool1, model.maxpool2]
    if _stride(first) > 1:
        return
    stem_stride = math.prod(map(_stride, pools))
    first.padding = tuple(n + math.ceil(3 * stem_stride / 2) for n in _padding(first, 1))
    auxiliary = [model.AuxLogits.conv1.conv] if model.AuxLogits is not None else []
    for conv in (model.Conv2d_2a_3x3.conv, model.Conv2d_4a_3x3.conv, *auxiliary):
        conv.padding = _padding(conv, 1)
    for pool in pools:
        if _stride(pool) > 1:
            pool.padding = pool.kernel_size // 2
