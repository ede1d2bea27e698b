r"""Orthogonal weights."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonal(weight: Tensor) -> Tensor:
    r"""The orthogonal factor of a weight's QR decomposition, with the signs that make the other
    factor's diagonal positive: orthonormal rows, or columns where there are fewer of them, of the
    matrix with a row for each output.

    Args:
        weight (Tensor): The weight, with the outputs first. One of less than two dimensions comes
            back as it is.
    """
    if weight.dim() < 2:
        return weight
    matrix = weight.flatten(1).float()
    is_wide = matrix.size(0) < matrix.size(1)
    q, r = torch.linalg.qr(matrix.mT if is_wide else matrix)
    q = q * torch.where(r.diagonal() < 0, -1, 1)
    return (q.mT if is_wide else q).reshape(weight.shape).to(weight)
