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


def place_positions(kernel: Tensor, shape: Shape) -> Tensor:
    r"""A decoded :math:`(1, c, r, r)` as position embedding :math:`(1, n, c)`. The
    :math:`n - r^2` rows in front, of the class token, are drawn at random."""
    if not is_sequence(shape):
        return kernel
    positions = kernel.flatten(2).transpose(1, 2)
    num_tokens = shape[1] - positions.size(1)
    tokens = positions.new_empty(1, num_tokens, shape[2]).normal_(std=CLASS_TOKEN_STD)
    return torch.cat([tokens, positions], dim=1)
