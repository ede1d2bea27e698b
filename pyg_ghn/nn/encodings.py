r"""Embeddings of the shape of a node's parameter, and of its place in the graph."""

from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError, DecodeError
from pyg_ghn.nn.batching import send

_MAX_CHANNELS = 8192  # larger sizes are taken as this one, but for the number of classes

# Sizes that take another known size than the nearest.
_CHANNEL_EXCEPTIONS = {4: 8, 5: 8, 6: 8, 7: 8}
_KERNEL_EXCEPTIONS = {2: 3}


class ShapeEncoding(nn.Module):
    r"""Encodes the shape of the parameter that a node stands for, from the
    `"Parameter Prediction for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_
    paper.

    A shape is made 4-D (see :func:`as_4d`). Each of its four sizes is replaced by the nearest one
    of a list of known sizes, which has an embedding, and the four embeddings are concatenated:

    .. math::
        \mathbf{s} = \left[ \mathbf{E}_c(\text{out}) \, \Vert \, \mathbf{E}_c(\text{in}) \, \Vert \,
        \mathbf{E}_k(\text{height}) \, \Vert \, \mathbf{E}_k(\text{width}) \right]

    The last row of either table means "no shape".

    Args:
        channels (int): Size of the encoding; a multiple of 4.
        kernel_size (int, optional): Size of the largest kernel that the decoder makes.
            (default: :obj:`16`)
        num_classes (int, optional): Number of classes, a known size of its own.
            (default: :obj:`1000`)

    Shapes:
        - **input:** :math:`N` shapes, each a tuple or :obj:`None`
        - **output:** :math:`(N, \text{channels})`

    Raises:
        ConfigError: If :obj:`channels` is no multiple of 4.
        DecodeError: If a shape has no 4-D form.
    """

    def __init__(self, channels: int, kernel_size: int = 16, num_classes: int = 1000) -> None:
        super().__init__()
        if channels % 4:
            raise ConfigError(f"`channels` must be a multiple of 4, got {channels}.")
        self.channels = channels
        self.kernel_size = kernel_size
        self.num_classes = num_classes
        channel_sizes = {1, 3, num_classes, *range(8, 64, 8), *range(64, 4096, 16)}
        channel_sizes = sorted({*channel_sizes, *range(4096, _MAX_CHANNELS + 1, 32)})
        kernel_sizes = sorted({*range(1, max(12, kernel_size), 2), 14, 16})
        self._channel_rows = _nearest_rows(channel_sizes, _MAX_CHANNELS, _CHANNEL_EXCEPTIONS)
        self._kernel_rows = _nearest_rows(kernel_sizes, kernel_sizes[-1], _KERNEL_EXCEPTIONS)
        self._no_shape = (len(channel_sizes),) * 2 + (len(kernel_sizes),) * 2
        self.channel = nn.Embedding(len(channel_sizes) + 1, channels // 4)
        self.kernel = nn.Embedding(len(kernel_sizes) + 1, channels // 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for table in (self.channel, self.kernel):
            nn.init.trunc_normal_(table.weight, std=self.channels**-0.5)

    def forward(self, shapes: Sequence[tuple[int, ...] | None]) -> Tensor:
        r"""Runs the forward pass of the module."""
        rows = torch.tensor([self._rows(s) for s in shapes], dtype=torch.long).view(-1, 4)
        rows = send(rows, self.channel.weight.device)
        halves = self.channel(rows[:, :2]).flatten(1), self.kernel(rows[:, 2:]).flatten(1)
        return torch.cat(halves, dim=1)

    def _rows(self, shape: tuple[int, ...] | None) -> tuple[int, int, int, int]:
        if shape is None:
            return self._no_shape
        out, in_, height, width = as_4d(shape)
        channel, kernel = self._channel_rows, self._kernel_rows
        return (
            channel.get(out, channel[_MAX_CHANNELS]),
            channel.get(in_, channel[_MAX_CHANNELS]),
            kernel.get(height, self._no_shape[-1] - 1),
            kernel.get(width, self._no_shape[-1] - 1),
        )

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, kernel_size={self.kernel_size}, "
            f"num_classes={self.num_classes})"
        )


class CentralityEncoding(nn.Module):
    r"""Encodes how central a node is in a directed graph, Section 3.3 (Eq. 7) of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper, with the distance from the input node besides:

    .. math::
        \mathbf{z}_i = \mathbf{z}_{\textrm{deg}^+(i)} + \mathbf{z}_{\textrm{deg}^-(i)} +
        \mathbf{z}_{d(0, i)}

    Larger values take the embedding of the largest known one. See
    :class:`~pyg_ghn.transforms.AddDegreeEncoding` for the inputs.

    Args:
        channels (int): Size of the encoding.
        max_degree (int, optional): Largest known degree; if set to :obj:`None`, degrees are not
            encoded. (default: :obj:`100`)
        max_distance (int, optional): Largest known distance; if set to :obj:`None`, distances are
            not encoded. (default: :obj:`1000`)

    Shapes:
        - **input:** in-degrees :math:`(N)`, out-degrees :math:`(N)`, distances :math:`(N)`
        - **output:** :math:`(N, \text{channels})`
    """

    def __init__(
        self, channels: int, max_degree: int | None = 100, max_distance: int | None = 1000
    ) -> None:
        super().__init__()
        self.channels = channels
        if max_degree is not None:
            self.in_degree = nn.Embedding(max_degree + 1, channels)
            self.out_degree = nn.Embedding(max_degree + 1, channels)
        if max_distance is not None:
            self.input_distance = nn.Embedding(max_distance + 1, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for table in self.children():
            nn.init.trunc_normal_(table.weight, std=self.channels**-0.5)

    def forward(self, in_degree: Tensor, out_degree: Tensor, input_distance: Tensor) -> Tensor:
        r"""Runs the forward pass of the module."""
        values = {
            "in_degree": in_degree,
            "out_degree": out_degree,
            "input_distance": input_distance,
        }
        return sum(
            table(values[name].clamp(max=table.num_embeddings - 1))
            for name, table in self.named_children()
        )

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels})"


def as_4d(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    r"""The shape as (out, in, height, width). The positions of a position embedding
    :math:`(1, n, c)` are laid out as a square: :math:`(1, c, r, r)` with
    :math:`r = \lfloor \sqrt{n} \rfloor`."""
    if not 1 <= len(shape) <= 4:
        raise DecodeError(f"A parameter shape must have 1 to 4 dimensions, got {tuple(shape)}.")
    if is_sequence(shape):
        side = isqrt(shape[1])
        return 1, shape[2], side, side
    return (*shape, *(1,) * (4 - len(shape)))


def is_sequence(shape: tuple[int, ...]) -> bool:
    r"""Whether the shape is that of a position embedding :math:`(1, n, c)`."""
    return len(shape) == 3 and shape[0] == 1 and min(shape[1:]) > 1


def _nearest_rows(sizes: list[int], largest: int, exceptions: dict[int, int]) -> dict[int, int]:
    """The row of the nearest known size, of two the smaller, for all sizes up to the largest."""
    middles = (np.array(sizes[1:]) + np.array(sizes[:-1])) / 2
    rows = dict(enumerate(np.searchsorted(middles, np.arange(largest + 1)).tolist()))
    for size, known in exceptions.items():
        if size not in sizes:
            rows[size] = sizes.index(known)
    return rows | {size: row for row, size in enumerate(sizes)}
