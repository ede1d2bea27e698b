r"""What of torchvision's vision transformers depends on the size of images and maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ArchitectureError

LEAST_TOKENS = 7
r"""Side of the tokens of a VisionTransformer for the smallest images that it is made for."""


class DenseMerging(nn.Module):
    r"""Swin's patch merging of every position with its three neighbors, without a stride.

    Args:
        merging (torch.nn.Module): torchvision's ``PatchMerging`` or ``PatchMergingV2``, of which it
            takes over the layers.

    Shapes:
        - **input:** :math:`(*, H, W, C)`
        - **output:** :math:`(*, H, W, 2C)`
    """

    def __init__(self, merging: nn.Module) -> None:
        from torchvision.models.swin_transformer import PatchMerging

        super().__init__()
        self.reduction = merging.reduction
        self.norm = merging.norm
        self.norm_first = isinstance(merging, PatchMerging)

    def forward(self, x: Tensor) -> Tensor:
        r"""Runs the forward pass of the module."""
        height, width = x.shape[-3:-1]
        x = F.pad(x, (0, 0, 0, 1, 0, 1))
        corners = ((0, 0), (1, 0), (0, 1), (1, 1))
        x = torch.cat([x[..., i : i + height, j : j + width, :] for i, j in corners], dim=-1)
        return self.reduction(self.norm(x)) if self.norm_first else self.norm(self.reduction(x))


def is_merging(module: nn.Module) -> bool:
    r"""Whether it is Swin's patch merging, with a stride of two."""
    from torchvision.models.swin_transformer import PatchMerging, PatchMergingV2

    return isinstance(module, (PatchMerging, PatchMergingV2))


def fit_tokens(model: nn.Module, height: int, width: int) -> None:
    r"""Makes a VisionTransformer see squares of another size, in at least 7 x 7 patches: the kernel
    stays, and where it is too large for that, patches overlap."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    conv = model.conv_proj
    if not isinstance(conv, nn.Conv2d):
        raise ArchitectureError("A VisionTransformer with a convolutional stem can't be adapted.")
    kernel = conv.kernel_size[0]
    stride = min(kernel, height // LEAST_TOKENS)
    # Only with an even overlap the number of patches is right for every height.
    stride = max(stride - (kernel - stride) % 2, 2 - kernel % 2)
    conv.stride, conv.padding = (stride, stride), ((kernel - stride) // 2,) * 2
    model.image_size, model.patch_size = height, stride
    model.seq_length = (height // stride) ** 2 + 1
    name, position = "encoder.pos_embedding", model.encoder.pos_embedding
    resized = interpolate_embeddings(height, stride, {name: position.detach()})[name]
    model.encoder.pos_embedding = nn.Parameter(resized, position.requires_grad)


def fit_attention(module: nn.Module, height: int, width: int) -> None:
    r"""Fits the windows of an attention layer of Swin or MaxVit to its map. Other modules stay as
    they are. The table of position biases keeps its size: smaller windows use a part of it."""
    from torchvision.models.maxvit import PartitionAttentionLayer
    from torchvision.models.swin_transformer import ShiftedWindowAttention

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
        times = height // size
        module.grid_size, module.n_partitions = (height, width), times
        module.p, module.g = (times, size) if module.partition_type == "grid" else (size, times)
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
