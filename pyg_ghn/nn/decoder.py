r"""From node embeddings to parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.block_linear import Part, block_linear
from pyg_ghn.nn.send import send
from pyg_ghn.nn.shape_encoding import Shape
from pyg_ghn.nn.sliced_linear import sliced_linear
from pyg_ghn.nn.targets import VECTORS, Kind, Target
from pyg_ghn.nn.tiling import normalization, place_positions, sizes_4d, squash, tile

Window = tuple[int, int]
Decoded = tuple["_Bucket", Sequence[Tensor]]

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
    classification layer maps the channels to the classes by one linear layer more. The results are
    scaled as in He initialization, vectors are squashed to values around 1 or 0.

    All parameters of a batch are decoded together: each weight is read once, and nothing but the
    positions and channels that some parameter needs is computed.

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
        max_shape: Shape,
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
        buckets = _group(targets)
        nodes = torch.tensor(
            [node for bucket in buckets for node in bucket.nodes], dtype=torch.long
        )
        rows = x.index_select(0, send(nodes, x.device)).split([len(b.nodes) for b in buckets])
        inputs = list(zip(buckets, rows, strict=True))
        vectors = [pair for pair in inputs if pair[0].kind in VECTORS]
        kernels = [pair for pair in inputs if pair[0].kind not in VECTORS]
        params: list[Tensor | None] = [None] * len(targets)
        for decode, some in ((self._vectors, vectors), (self._kernels, kernels)):
            for bucket, tensors in decode(some) if some else ():
                for place, tensor in zip(bucket.places, tensors, strict=True):
                    params[place] = tensor
        return params

    def _vectors(self, inputs: list[tuple[_Bucket, Tensor]]) -> Iterator[Decoded]:
        weights, biases = self.vector(torch.cat([rows for _, rows in inputs])).chunk(2, dim=1)
        start = 0
        for kind, some in groupby((bucket for bucket, _ in inputs), lambda bucket: bucket.kind):
            some = list(some)
            counts = [len(bucket.nodes) for bucket in some]
            part = slice(start, start := start + sum(counts))
            values = weights[part] if kind is Kind.SCALE else biases[part]
            if kind is Kind.CLASS_BIAS:
                values = self.class_bias(values.relu())
            if self.weight_norm:
                values = squash(kind, values)
            for bucket, rows in zip(some, values.split(counts), strict=True):
                rows = tile(rows, (len(rows), prod(bucket.shape))).contiguous()
                yield bucket, rows.view(-1, *bucket.shape).unbind()

    def _kernels(self, inputs: list[tuple[_Bucket, Tensor]]) -> Iterator[Decoded]:
        jobs = [_job(bucket, rows, self.max_shape) for bucket, rows in inputs]
        jobs.sort(key=lambda job: job.channels)
        positions = self._positions(jobs)
        scales = [self._scale(job.bucket.kind, job.bucket.shape) for job in jobs]
        scales = torch.tensor(scales, dtype=positions.dtype)
        scales = scales.repeat_interleave(torch.tensor([job.num_rows for job in jobs]))
        scales = send(scales, positions.device)
        hidden = self.kernel[1](self.kernel[0](positions)) * scales[:, None]
        kernels = block_linear(
            hidden,
            scales,
            self.kernel[2].weight.view(*self.max_shape[:2], -1),
            self.kernel[2].bias.view(self.max_shape[:2]),
            [Part(job.channels, (len(job.inputs), *job.window)) for job in jobs],
        )
        for job, maps in zip(jobs, kernels, strict=True):
            yield job.bucket, self._finish(job, maps)

    def _positions(self, jobs: list[_Job]) -> Tensor:
        """The features of every kernel position of every node, a row each, in the order of jobs."""
        by_window = defaultdict(list)
        for place, job in enumerate(jobs):
            by_window[job.window].append(place)
        inputs = {
            window: torch.cat([jobs[place].inputs for place in places])
            for window, places in by_window.items()
        }
        features = self._large_windows(inputs) | self._small_windows(inputs)
        ordered: list[Tensor | None] = [None] * len(jobs)
        for window, places in by_window.items():
            rows = features[window].movedim(2, 0).reshape(-1, 4 * self.channels)
            parts = rows.split([jobs[place].num_rows for place in places])
            for place, part in zip(places, parts, strict=True):
                ordered[place] = part
        return torch.cat(ordered).relu()

    def _large_windows(self, inputs: dict[Window, Tensor]) -> dict[Window, Tensor]:
        """One product with all positions, which is the fastest where many of them are needed."""
        size, features = self.max_shape[-1], {}
        for window, rows in inputs.items():
            if _is_large(window, size):
                maps = self.position(rows).view(len(rows), -1, size, size)
                index = (slice(None), slice(None), *self._window(window))
                features[window] = maps[index].permute(2, 3, 0, 1)
        return features

    def _small_windows(self, inputs: dict[Window, Tensor]) -> dict[Window, Tensor]:
        """Products with the positions of each window."""
        size, channels = self.max_shape[-1], 4 * self.channels
        small = [window for window in inputs if not _is_large(window, size)]
        if not small:
            return {}
        rows = torch.cat([inputs[window] for window in small])
        features = sliced_linear(
            rows,
            rows.new_ones(len(rows)),
            self.position.weight.view(channels, size, size, -1).permute(1, 2, 0, 3),
            self.position.bias.view(channels, size, size).permute(1, 2, 0),
            [(len(inputs[window]), self._window(window)) for window in small],
        )
        return dict(zip(small, features, strict=True))

    def _window(self, window: Window) -> tuple[slice, ...]:
        """The part of the largest kernel that a smaller one takes."""
        start = _WINDOW_STARTS[self.window]
        size = self.max_shape[-1]
        return tuple(slice(start(n, size), start(n, size) + n) for n in window)

    def _scale(self, kind: Kind, shape: Shape) -> float:
        return normalization(kind, shape) if self.weight_norm else 1.0

    def _finish(self, job: _Job, maps: Tensor) -> list[Tensor]:
        """Maps of single positions to parameters of full size."""
        bucket, (out, in_, *window) = job.bucket, job.sizes
        if bucket.kind is Kind.CLASS_KERNEL:
            maps = self.class_kernel(maps.flatten(2).transpose(1, 2).relu()).transpose(1, 2)
            maps = maps[..., None, None] * self._scale(Kind.KERNEL, bucket.shape)
        if job.window != tuple(window):
            resized = F.interpolate(maps.flatten(0, 1), window, mode="bilinear")
            maps = resized.unflatten(0, (-1, maps.size(1)))
        if prod(window) > 1:
            maps = maps.contiguous()  # once, not again for each tile
        # Tiled one by one: the backward pass then never stacks gradients of full size.
        kernels = [tile(kernel, (out, in_)) for kernel in maps.unbind()]
        if bucket.kind is Kind.POSITION:
            kernels = [place_positions(kernel, bucket.shape) for kernel in kernels]
        return [kernel.contiguous().view(bucket.shape) for kernel in kernels]

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


class _Bucket(NamedTuple):
    """Targets of one kind and shape."""

    kind: Kind
    shape: Shape
    nodes: list[int]
    places: list[int]  # in the list of targets


class _Job(NamedTuple):
    """What has to be computed for a bucket of kernels."""

    bucket: _Bucket
    inputs: Tensor  # node embeddings
    sizes: tuple[int, int, int, int]  # of the parameter
    channels: tuple[int, int]  # leading output and input channels
    window: Window  # central positions
    num_rows: int  # one for each node and position


def _group(targets: Sequence[Target]) -> list[_Bucket]:
    buckets: dict[tuple[Kind, Shape], _Bucket] = {}
    for place, (_, node, shape, kind) in enumerate(targets):
        bucket = buckets.get((kind, shape))
        if bucket is None:
            bucket = buckets[kind, shape] = _Bucket(kind, shape, [], [])
        bucket.nodes.append(node)
        bucket.places.append(place)
    return sorted(buckets.values(), key=lambda bucket: bucket.kind.value)


def _job(bucket: _Bucket, inputs: Tensor, max_shape: Shape) -> _Job:
    out, in_, height, width = sizes = sizes_4d(bucket.kind, bucket.shape)
    c_out, c_in, size, _ = max_shape
    # The class predictor acts on all output channels.
    channels = c_out if bucket.kind is Kind.CLASS_KERNEL else min(out, c_out), min(in_, c_in)
    window = min(height, size), min(width, size)
    return _Job(bucket, inputs, sizes, channels, window, len(bucket.nodes) * prod(window))


def _is_large(window: Window, size: int) -> bool:
    return 4 * prod(window) >= size * size
