r"""The last linear layer of a decoder, of which each row needs leading channels only."""

from collections.abc import Sequence
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_ghn.nn.blocks import Block, assemble, cover
from pyg_ghn.nn.sliced_linear import autocast, backward_product, scaled_product


class Part(NamedTuple):
    r"""Rows that become one tensor."""

    channels: tuple[int, int]  # leading outputs and inputs that they need
    shape: tuple[int, int, int]  # nodes, height, width: a row each

    @property
    def num_rows(self) -> int:
        return prod(self.shape)


def block_linear(
    rows: Tensor, scales: Tensor, weight: Tensor, bias: Tensor, parts: Sequence[Part]
) -> tuple[Tensor, ...]:
    r"""Applies a linear layer whose outputs form a matrix (out, in) to rows which need leading
    parts of it, and puts kernels together. Each weight is read once for all rows, and what autograd
    would do in many passes over the kernels is one.

    Args:
        rows (Tensor): The inputs, :math:`(R, d)`, in the order of the parts.
        scales (Tensor): The factor of the bias in each row, :math:`(R)`; takes no gradient.
        weight (Tensor): The weight, :math:`(out, in, d)`.
        bias (Tensor): The bias, :math:`(out, in)`.
        parts (list of Part): What each part of the rows needs and becomes. Parts with the same
            channels follow each other.

    Returns:
        For each part the kernels :math:`(nodes, out, in, height, width)`, not contiguous.
    """
    return _BlockLinear.apply(*autocast(rows, scales, weight, bias), _Layout(parts, rows.size(1)))


class _Layout:
    """Which rows go through which blocks of the weight."""

    def __init__(self, parts: Sequence[Part], num_features: int) -> None:
        self.groups = [list(some) for _, some in groupby(parts, lambda part: part.channels)]
        self.sizes = [group[0].channels for group in self.groups]
        self.counts = [sum(part.num_rows for part in group) for group in self.groups]
        self.blocks = cover(self.sizes, self.counts, num_features)

    def rows_of(self, block: Block, values: Tensor) -> Tensor:
        """Those of all rows that go through a block."""
        groups = values.split(self.counts)
        return torch.cat([groups[g] for g in block.groups])


class _BlockLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, scales: Tensor, weight: Tensor, bias: Tensor, layout: _Layout
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rows, scales, weight)
        ctx.layout = layout
        maps = []
        for block in layout.blocks:
            x, s = layout.rows_of(block, rows), layout.rows_of(block, scales)
            maps.append(scaled_product(x, s, weight[block.index], bias[block.index]))
        kernels = []
        maps = assemble(layout.blocks, maps, layout.sizes, layout.counts)
        for group, map in zip(layout.groups, maps, strict=True):
            for part, own in zip(group, map.split([p.num_rows for p in group], dim=1), strict=True):
                kernels.append(own.unflatten(1, part.shape).permute(1, 0, 4, 2, 3))
        return tuple(kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, scales, weight = ctx.saved_tensors
        layout, grads = ctx.layout, iter(grads)
        by_group = [[next(grads) for _ in group] for group in layout.groups]
        grad_rows = torch.zeros_like(rows)
        grad_weight = torch.zeros_like(weight)
        grad_bias = torch.zeros_like(weight[..., 0])
        row_groups = grad_rows.split(layout.counts)
        for block in layout.blocks:
            grad = _block_gradient(block, [by_group[g] for g in block.groups], rows)
            x, s = layout.rows_of(block, rows), layout.rows_of(block, scales)
            grad_x, grad_weight[block.index], grad_bias[block.index] = backward_product(
                grad, x, s, weight[block.index]
            )
            parts = grad_x.split([layout.counts[g] for g in block.groups])
            for group, part in zip(block.groups, parts, strict=True):
                row_groups[group].add_(part)
        return grad_rows, None, grad_weight, grad_bias, None


def _block_gradient(block: Block, groups: Sequence[Sequence[Tensor]], like: Tensor) -> Tensor:
    """The gradient (rows, out, in) of what a block has made, from those of kernels."""
    grads = [grad.permute(0, 3, 4, 1, 2) for group in groups for grad in group]
    counts = [prod(grad.shape[:3]) for grad in grads]
    height, width = block.out.stop - block.out.start, block.in_.stop - block.in_.start
    result = like.new_empty(sum(counts), height, width)
    for grad, place in zip(grads, result.split(counts), strict=True):
        grad = grad[..., block.out, block.in_]
        out, in_ = grad.shape[-2:]
        if out < height or in_ < width:  # some of what was made was not needed
            place[:, out:].zero_()
            place[:, :out, in_:].zero_()
        place.unflatten(0, grad.shape[:3])[..., :out, :in_].copy_(grad)
    return result
