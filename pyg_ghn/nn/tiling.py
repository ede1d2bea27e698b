r"""From decoded maps to the shape and scale of a parameter."""

from math import prod

import torch
from torch import Tensor

from pyg_ghn.nn.shape_encoding import Shape, as_4d, is_sequence
from pyg_ghn.nn.targets import Kind

CLASS_TOKEN_STD = 0.02


def sizes_4d(kind: Kind, shape: Shape) -> tuple[int, int, int, int]:
    r"""The shape as (out, in, height, width). Only a position embedding becomes a square."""
    return as_4d(shape) if kind is Kind.POSITION else (*shape, *(1,) * (4 - len(shape)))


def normalization(kind: Kind, shape: Shape) -> float:
    r"""The factor :math:`\sqrt{\beta / \textrm{fan}_{in}}` of a kernel, with :math:`\beta = 2`, but
    :math:`\beta = 1` for depthwise kernels and for those wider than high. Position embeddings
    stay as they are, classification weights until they have their classes."""
    if kind is not Kind.KERNEL:
        return 1.0
    depthwise = len(shape) > 2 and shape[1] == 1
    wide = len(shape) == 4 and shape[2] < shape[3]
    return ((1 if depthwise or wide else 2) / prod(shape[1:])) ** 0.5


def squash(kind: Kind, values: Tensor) -> Tensor:
    r"""The entries of vectors: those of norms' weights around 1, those of biases around 0."""
    return 2 * torch.sigmoid(values / 2) if kind is Kind.SCALE else torch.tanh(values / 5)


def tile(x: Tensor, sizes: tuple[int, int], out: Tensor | None = None) -> Tensor:
    r"""Repeats the first two dimensions up to the given sizes, or takes the leading slice; writes
    to :obj:`out` if it is given. The second dimension goes first, so that the result is written,
    and its gradient read, once and in order."""
    return _repeat(_repeat(x, 1, sizes[1]), 0, sizes[0], out)


def _repeat(x: Tensor, dim: int, size: int, out: Tensor | None = None) -> Tensor:
    times, rest = divmod(size, x.size(dim))
    if times and rest:
        return torch.cat([x] * times + [x.narrow(dim, 0, rest)], dim, out=out)
    if times > 1:
        repeated = x.unsqueeze(dim).expand(*x.shape[:dim], times, *x.shape[dim:])
        if out is None:
            return repeated.flatten(dim, dim + 1)
        out.view(repeated.shape).copy_(repeated)
        return out
    x = x.narrow(dim, 0, size)
    return x if out is None else out.copy_(x)


def place_positions(kernel: Tensor, shape: Shape) -> Tensor:
    r"""A decoded :math:`(1, c, r, r)` as position embedding :math:`(1, n, c)`. The
    :math:`n - r^2` rows in front, of the class token, are drawn at random."""
    if not is_sequence(shape):
        return kernel
    positions = kernel.flatten(2).transpose(1, 2)
    num_tokens = shape[1] - positions.size(1)
    tokens = positions.new_empty(1, num_tokens, shape[2]).normal_(std=CLASS_TOKEN_STD)
    return torch.cat([tokens, positions], dim=1)
