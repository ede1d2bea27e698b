r"""From node embeddings to parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, pairwise
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.batching import send
from pyg_ghn.nn.encodings import is_sequence
from pyg_ghn.nn.targets import Role, Target

CLASS_TOKEN_STD = 0.02

_WINDOW_STARTS = {
    "center": lambda length, size: size // 2 - length // 2,
    "corner": lambda length, size: 0,
}


class ParameterDecoder(nn.Module):
    r"""Decodes node embeddings into parameters of any shape, from the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper (Appendix A.1), as in `"Parameter Prediction for
    Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_.

    For a node with embedding :math:`\mathbf{h}` and each position :math:`p` of a kernel of at most
    :math:`s \times s`, it makes a map of :math:`c_{out} \times c_{in}` channels,

    .. math::
        \mathbf{W}_p = \textrm{MLP} \left( \textrm{ReLU} (\mathbf{A}_p \mathbf{h} + \mathbf{a}_p)
        \right) \in \mathbb{R}^{c_{out} \times c_{in}}

    of which smaller parameters take the leading channels and the central positions (the leading
    ones in GHN-2). Larger ones repeat the channels; larger kernels are interpolated. Vectors come
    from an MLP with two rows, one for the weights of normalization layers and one for biases. The
    classification layer maps the channels to the classes by one more linear layer. The results are
    scaled as in He initialization; vectors are squashed to values around 1 or 0.

    All parameters of a batch are decoded together: each weight is read once, and only the positions
    and channels that some parameter needs are computed.

    Args:
        channels (int): Size of the node embeddings.
        max_shape (tuple): Size of the largest kernel decoded without repetition,
            :math:`(c_{out}, c_{in}, s, s)`.
        num_classes (int): Number of classes of the image data set.
        window (str, optional): Which positions a smaller kernel takes, :obj:`"center"` or
            :obj:`"corner"`. (default: :obj:`"center"`)
        weight_norm (bool, optional): If set to :obj:`False`, the results are neither scaled nor
            squashed. (default: :obj:`True`)

    Shapes:
        - **input:** node embeddings :math:`(N, \text{channels})`, a list of targets (see
          :func:`~pyg_ghn.nn.targets.collect_targets`)
        - **output:** a list with a contiguous tensor for each target, of its shape. Tensors may
          share storage, but do not overlap.

    Raises:
        ConfigError: If :obj:`max_shape` is not that of a square kernel, or :obj:`window` is
            unknown.
    """

    def __init__(
        self,
        channels: int,
        max_shape: tuple[int, ...],
        num_classes: int,
        window: str = "center",
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        out, in_, size, width = max_shape
        if size != width:
            raise ConfigError(f"`max_shape` must end in a square kernel, got {tuple(max_shape)}.")
        if window not in _WINDOW_STARTS:
            raise ConfigError(f"`window` must be one of {[*_WINDOW_STARTS]}, got '{window}'.")
        self.window = window
        self.weight_norm = weight_norm
        self.channels = channels
        self.max_shape = tuple(max_shape)
        self.num_classes = num_classes
        length = max(out, in_)
        self.position = nn.Linear(channels, 4 * channels * size * size)
        self.kernel = nn.Sequential(
            nn.Linear(4 * channels, 8 * channels),
            nn.ReLU(),
            _SmallLinear(8 * channels, out * in_),
        )
        self.vector = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.ReLU(), _SmallLinear(2 * channels, 2 * length)
        )
        self.class_kernel = _SmallLinear(out, num_classes)
        self.class_bias = nn.Linear(length, num_classes)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module. The last layers, which make the entries
        of parameters, start without a bias and five times smaller than linear layers do."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def forward(self, x: Tensor, targets: Sequence[Target]) -> list[Tensor]:
        r"""Runs the forward pass of the module."""
        alike = defaultdict(list)
        for place, target in enumerate(targets):
            alike[target.role, target.shape].append(place)
        groups = [_Group(targets[places[0]], places, self.max_shape) for places in alike.values()]
        vectors = sorted((g for g in groups if g.role.is_vector), key=lambda g: g.role.value)
        kernels = sorted((g for g in groups if not g.role.is_vector), key=lambda g: g.channels)
        groups = vectors + kernels
        nodes = [targets[place].node for group in groups for place in group.places]
        nodes = send(torch.tensor(nodes, dtype=torch.long), x.device)
        rows = x.index_select(0, nodes).split([len(group.places) for group in groups])
        params: list[Tensor | None] = [None] * len(targets)
        for group, tensors in chain(
            self._vectors(vectors, rows[: len(vectors)]),
            self._kernels(kernels, rows[len(vectors) :]),
        ):
            for place, tensor in zip(group.places, tensors, strict=True):
                params[place] = tensor
        return params

    def _vectors(self, groups: Sequence[_Group], rows: Sequence[Tensor]) -> Iterator[_Decoded]:
        if not groups:
            return
        weights, biases = self.vector(torch.cat(rows)).chunk(2, dim=1)
        start = 0
        for role, some in groupby(groups, lambda group: group.role):
            some = list(some)
            counts = [group.num_rows for group in some]
            part = slice(start, start := start + sum(counts))
            values = weights[part] if role is Role.SCALE else biases[part]
            if role is Role.CLASS_BIAS:
                values = self.class_bias(values.relu())
            if self.weight_norm:  # weights of norms around 1, biases around 0
                is_scale = role is Role.SCALE
                values = 2 * torch.sigmoid(values / 2) if is_scale else torch.tanh(values / 5)
            for group, own in zip(some, values.split(counts), strict=True):
                own = tile(own, (len(own), group.sizes[0])).contiguous()
                yield group, own.view(-1, *group.shape).unbind()

    def _kernels(self, groups: Sequence[_Group], rows: Sequence[Tensor]) -> Iterator[_Decoded]:
        if not groups:
            return
        positions = self._positions(groups, rows)
        scales = [  # position embeddings stay as they are, classes do not exist yet
            normalization(g.shape) if self.weight_norm and g.role is Role.KERNEL else 1.0
            for g in groups
        ]
        counts = torch.tensor([group.num_rows for group in groups])
        scales = torch.tensor(scales, dtype=positions.dtype).repeat_interleave(counts)
        scales = send(scales, positions.device)
        hidden = self.kernel[1](self.kernel[0](positions)) * scales[:, None]
        by_channels = [list(some) for _, some in groupby(groups, lambda group: group.channels)]
        maps = _block_linear(
            hidden,
            scales,
            self.kernel[2].weight.view(*self.max_shape[:2], -1),
            self.kernel[2].bias.view(self.max_shape[:2]),
            [some[0].channels for some in by_channels],
            [sum(group.num_rows for group in some) for some in by_channels],
        )
        for some, together in zip(by_channels, maps, strict=True):
            parts = together.split([group.num_rows for group in some], dim=1)
            for group, own in zip(some, parts, strict=True):
                own = own.unflatten(1, (len(group.places), *group.window))
                yield group, self._finish(group, own.permute(1, 0, 4, 2, 3))

    def _positions(self, groups: Sequence[_Group], rows: Sequence[Tensor]) -> Tensor:
        """The features of every position of every node's kernel, :math:`(R, 4d)`, by groups."""
        size, channels = self.max_shape[-1], 4 * self.channels
        by_window = defaultdict(list)
        for place, group in enumerate(groups):
            by_window[group.window].append(place)
        start = _WINDOW_STARTS[self.window]
        windows = [
            (slice(None), *(slice(start(n, size), start(n, size) + n) for n in window))
            for window in by_window
        ]
        # Where many positions are needed, a product with all of them is faster than their copy.
        whole = [4 * prod(window) >= size * size for window in by_window]
        parts = [... if all_ else part for all_, part in zip(whole, windows, strict=True)]
        weights = _Parts.apply(self.position.weight.view(channels, size, size, -1), parts)
        biases = _Parts.apply(self.position.bias.view(channels, size, size), parts)
        ordered: list[Tensor | None] = [None] * len(groups)
        for places, all_, window, weight, bias in zip(
            by_window.values(), whole, windows, weights, biases, strict=True
        ):
            x = torch.cat([rows[place] for place in places])
            maps = F.linear(x, weight.flatten(0, 2), bias.flatten()).view(-1, *bias.shape)
            maps = maps[(slice(None), *window)] if all_ else maps
            features = maps.permute(0, 2, 3, 1).reshape(-1, channels)
            counts = [groups[place].num_rows for place in places]
            for place, part in zip(places, features.split(counts), strict=True):
                ordered[place] = part
        return torch.cat(ordered).relu()

    def _finish(self, group: _Group, maps: Tensor) -> list[Tensor]:
        """Maps (nodes, out, in, height, width) of single positions to parameters of full size."""
        out, in_, *kernel = group.sizes
        if group.role is Role.CLASS_KERNEL:
            maps = self.class_kernel(maps.flatten(2).transpose(1, 2).relu()).transpose(1, 2)
            maps = maps[..., None, None]
            if self.weight_norm:
                maps = maps * normalization(group.shape)
        if group.window != tuple(kernel):
            resized = F.interpolate(maps.flatten(0, 1), kernel, mode="bilinear")
            maps = resized.unflatten(0, (-1, maps.size(1)))
        if prod(kernel) > 1:
            maps = maps.contiguous()  # once, not again for each tile
        # Tiled one by one: the backward pass then never stacks gradients of full size.
        kernels = [tile(map_, (out, in_)) for map_ in maps.unbind()]
        if group.role is Role.POSITION and is_sequence(group.shape):
            kernels = [_place_positions(kernel, group.shape) for kernel in kernels]
        return [kernel.contiguous().view(group.shape) for kernel in kernels]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, max_shape={self.max_shape}, "
            f"num_classes={self.num_classes})"
        )


class _SmallLinear(nn.Linear):
    """A last layer, which makes the entries of parameters."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.weight.div_(5)
        self.bias.zero_()


class _Group:
    """Targets of one role and shape, and what has to be computed for them."""

    def __init__(self, target: Target, places: list[int], max_shape: tuple[int, ...]) -> None:
        self.role, self.shape, self.sizes = target.role, target.shape, target.sizes
        self.places = places  # in the list of targets
        out, in_, *window = target.decoded(max_shape)
        # Leading channels; the class predictor acts on all output channels.
        self.channels = (max_shape[0] if self.role is Role.CLASS_KERNEL else out), in_
        self.window = tuple(window)
        self.num_rows = len(places) * prod(window)  # one for each node and position


_Decoded = tuple[_Group, Sequence[Tensor]]


class _Parts(torch.autograd.Function):
    """Parts of a tensor, as views. Their gradients are added up in one tensor; autograd by itself
    makes one of the size of the whole tensor for each part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: Sequence[Any]) -> tuple[Tensor, ...]:
        ctx.parts = parts
        ctx.shape, ctx.like = x.shape, x.new_empty(0)
        return tuple(x[part] for part in parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = ctx.like.new_zeros(ctx.shape)
        for part, grad in zip(ctx.parts, grads, strict=True):
            total[part] += grad
        return total, None


def normalization(shape: tuple[int, ...]) -> float:
    r"""The factor :math:`\sqrt{\beta / \textrm{fan}_{in}}` of a kernel, with :math:`\beta = 2`, but
    :math:`\beta = 1` for depthwise kernels and for those wider than high."""
    depthwise = len(shape) > 2 and shape[1] == 1
    wide = len(shape) == 4 and shape[2] < shape[3]
    return ((1 if depthwise or wide else 2) / prod(shape[1:])) ** 0.5


def tile(x: Tensor, sizes: tuple[int, int]) -> Tensor:
    r"""Repeats the first two dimensions up to the given sizes, or takes the leading slice. The
    second goes first, so that the result is written, and its gradient read, once and in order."""
    for dim in (1, 0):
        times, rest = divmod(sizes[dim], x.size(dim))
        if not times:
            x = x.narrow(dim, 0, rest)
        elif rest:
            x = torch.cat([x] * times + [x.narrow(dim, 0, rest)], dim)
        elif times > 1:
            repeats = [times if d == dim else -1 for d in range(x.dim() + 1)]
            x = x.unsqueeze(dim).expand(repeats).flatten(dim, dim + 1)
    return x


def _place_positions(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A decoded (1, c, r, r) as position embedding (1, n, c). The n - r^2 rows in front, of the
    class token, are drawn at random."""
    positions = kernel.flatten(2).transpose(1, 2)
    num_tokens = shape[1] - positions.size(1)
    tokens = positions.new_empty(1, num_tokens, shape[2]).normal_(std=CLASS_TOKEN_STD)
    return torch.cat([tokens, positions], dim=1)


# What one more small product costs beside its arithmetic, and what one more block costs in Python,
# as multiply-adds. Measured by benchmarks/speed.py on a CPU; on a GPU it hardly matters.
_PRODUCT, _BLOCK = 1 << 17, 1 << 22
# Columns in which products go fast: one of 61 columns takes twice as long as one of 64.
_ALIGNED = 16


class _Block(NamedTuple):
    """A rectangle of the weight and the groups whose rows it is multiplied with."""

    index: tuple[slice, slice]
    groups: list[int]


def _block_linear(
    rows: Tensor,
    scales: Tensor,
    weight: Tensor,
    bias: Tensor,
    sizes: Sequence[tuple[int, int]],
    counts: Sequence[int],
) -> list[Tensor]:
    """Applies a linear layer whose outputs form a matrix (out, in) to groups of rows, of which each
    needs its leading ``sizes`` of it only: for each group a tensor (out, rows, in). The weight
    (out, in, features) is read once, by blocks; the bias is multiplied by the scales."""
    blocks = _cover(sizes, counts, rows.size(1))
    indices = [block.index for block in blocks]
    weights, biases = _Parts.apply(weight, indices), _Parts.apply(bias, indices)
    rows, scales = rows.split(counts), scales.split(counts)
    bands: list[dict[int, list[Tensor]]] = [{} for _ in sizes]
    for block, w, b in zip(blocks, weights, biases, strict=True):
        x, s = (torch.cat([values[g] for g in block.groups]) for values in (rows, scales))
        # A batch of products reads the strided block in place; its gradient would take the memory
        # of a copy of all rows for each output channel, that of one product does not.
        maps = x @ w.mT if x.requires_grad else torch.bmm(x.expand(len(w), -1, -1), w.mT)
        maps = torch.addcmul(maps, b[:, None], s[:, None])
        parts = maps.split([counts[g] for g in block.groups], dim=1)
        for group, part in zip(block.groups, parts, strict=True):
            bands[group].setdefault(block.index[0].start, []).append(part)
    return [
        torch.cat([torch.cat(band, dim=2)[..., :in_] for band in group.values()])[:out]
        for group, (out, in_) in zip(bands, sizes, strict=True)
    ]


def _cover(
    sizes: Sequence[tuple[int, int]], counts: Sequence[int], num_features: int
) -> list[_Block]:
    """Covers the leading sizes of a matrix that groups of rows need with blocks that do not
    overlap. Each entry of the weight, which for few rows takes longer to read than to multiply, is
    then read once for all groups. A border at which less would be saved than one more product costs
    is left out; then some products are never used."""
    groups, max_in = range(len(sizes)), max(in_ for _, in_ in sizes)
    work = [sizes[g][1] * counts[g] * num_features for g in groups]
    blocks = []
    for top, bottom in pairwise(_borders([out for out, _ in sizes], work, _BLOCK)):
        band = [g for g in groups if sizes[g][0] > top]
        height = bottom - top
        work_in = [counts[g] * num_features * height for g in band]
        ends = [min(-(-sizes[g][1] // _ALIGNED) * _ALIGNED, max_in) for g in band]
        for left, right in pairwise(_borders(ends, work_in, _BLOCK + height * _PRODUCT)):
            some = [g for g in band if sizes[g][1] > left]
            blocks.append(_Block((slice(top, bottom), slice(left, right)), some))
    return blocks


def _borders(ends: Sequence[int], work: Sequence[int], worth: int) -> list[int]:
    """From 0 to the largest end, with those ends between at which stopping saves enough work."""
    per_end: dict[int, int] = defaultdict(int)
    for end, amount in zip(ends, work, strict=True):
        per_end[end] += amount
    last, *others = sorted(per_end, reverse=True)
    borders = [last]
    for end in others:
        if (borders[-1] - end) * per_end[end] > worth:
            borders.append(end)
    return [0, *reversed(borders)]
