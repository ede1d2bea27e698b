r"""A linear layer of which each group of rows needs a part of the outputs only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Group = tuple[int, tuple[slice, ...]]


def sliced_linear(
    rows: Tensor, scales: Tensor, weight: Tensor, bias: Tensor, groups: Sequence[Group]
) -> tuple[Tensor, ...]:
    r"""Applies to each group of rows its own slice of one linear layer, whose outputs form an
    array of several dimensions:

    .. math::
        \mathbf{Y}_g = \mathbf{X}_g \mathbf{W}[\textrm{slices}_g]^{\top} +
        \mathbf{s}_g \, \mathbf{b}[\textrm{slices}_g]^{\top}

    The decoder's weights are the largest of a GHN. Indexing them for each group would copy them in
    the forward pass, and allocate, clear and add a gradient of full size for each group in the
    backward pass. Here the slices are read in place, and all groups add to one gradient.

    Args:
        rows (Tensor): The inputs of all groups, :math:`(R, d)`.
        scales (Tensor): The factor of the bias in each row, :math:`(R)`; takes no gradient.
        weight (Tensor): The weight, :math:`(n_1, \ldots, n_k, d)`.
        bias (Tensor): The bias, :math:`(n_1, \ldots, n_k)`.
        groups (list): For each group its number of rows, and slices of the output dimensions.

    Returns:
        For each group a contiguous tensor :math:`(m_1, \ldots, m_{k-1}, R_g, m_k)`, the sizes being
        those of its slices: a batch of small products, which runs in parallel as it is.
    """
    return _SlicedLinear.apply(*autocast(rows, scales, weight, bias), groups)


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    r"""The tensors in the type that autocast has for products, if it is enabled."""
    device = tensors[0].device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)
    return tensors


def scaled_product(rows: Tensor, scales: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""Rows (R, d) times a weight (..., m, d) plus a bias (..., m) times the scales of the rows, as
    (..., R, m). The weight may be a slice, it is not copied."""
    out = rows.new_empty(*bias.shape[:-1], len(rows), bias.size(-1))
    torch.mul(bias.unsqueeze(-2), scales[:, None], out=out)
    _add_product(out, rows, weight)
    return out


def backward_product(
    grad: Tensor, rows: Tensor, scales: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The gradients of rows, weight and bias, given that of the product as (R, ..., m)."""
    grad = grad.flatten(1)
    grad_rows = grad @ weight.reshape(-1, weight.size(-1))
    grad_weight = (grad.t() @ rows).view(weight.shape)
    return grad_rows, grad_weight, (scales @ grad).view(weight.shape[:-1])


class _SlicedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        scales: Tensor,
        weight: Tensor,
        bias: Tensor,
        groups: Sequence[Group],
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rows, scales, weight)
        ctx.groups = groups
        counts = [count for count, _ in groups]
        outs = []
        for x, s, (_, index) in zip(rows.split(counts), scales.split(counts), groups, strict=True):
            outs.append(scaled_product(x, s, weight[index], bias[index]))
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, scales, weight = ctx.saved_tensors
        grad_rows = []
        grad_weight = torch.zeros_like(weight)
        grad_bias = torch.zeros_like(weight[..., 0])
        counts = [count for count, _ in ctx.groups]
        inputs = zip(grads, rows.split(counts), scales.split(counts), ctx.groups, strict=True)
        for grad, x, s, (_, index) in inputs:
            parts = backward_product(grad.movedim(-2, 0), x, s, weight[index])
            grad_rows.append(parts[0])
            grad_weight[index] += parts[1]
            grad_bias[index] += parts[2]
        return torch.cat(grad_rows), None, grad_weight, grad_bias, None


def _add_product(out: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Adds rows (R, d) times weight (..., m, d) to out (..., R, m), with no copy of the weight."""
    if weight.dim() == 2:
        out.addmm_(rows, weight.t())
    elif weight.dim() == 3 and len(weight) > 1:
        out.baddbmm_(rows.expand(len(weight), -1, -1), weight.transpose(1, 2))
    else:
        for part, slab in zip(out, weight, strict=True):
            _add_product(part, rows, slab)
