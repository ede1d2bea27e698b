r"""Changes of a single predicted weight."""

import torch
import torch.nn.functional as F
from torch import Tensor


def noisy(weight: Tensor, beta: float = 1e-5, generator: torch.Generator | None = None) -> Tensor:
    r"""A weight with noise of the size :math:`\beta \, \textrm{std}(\textrm{corrcoef}(\mathbf{W}))`
    on it, which tells repeated channels apart before fine-tuning (Section 5 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper). The matrix :math:`\mathbf{W}` has a row or a column
    for each output, so that it is not wider than high.

    Args:
        weight (Tensor): The weight, with the outputs first. One of less than two dimensions comes
            back as it is.
        beta (float): Size of the noise. (default: :obj:`1e-5`)
        generator (torch.Generator, optional): Draws the noise. (default: :obj:`None`)
    """
    if weight.dim() < 2:
        return weight
    matrix = weight.flatten(1).float()
    matrix = matrix.mT if matrix.size(0) < matrix.size(1) else matrix
    # The spread of correlations of rows, which are many in an embedding, from products of columns.
    # A row without variance has no correlation with others.
    rows = F.normalize(matrix - matrix.mean(1, keepdim=True), dim=1)
    squares, total = (rows.mT @ rows).square().sum(), rows.sum(0).square().sum()
    spread = (squares / len(rows) ** 2 - (total / len(rows) ** 2) ** 2).clamp(min=0).sqrt()
    where = generator.device if generator is not None else weight.device
    noise = torch.randn(weight.shape, generator=generator, device=where).to(weight)
    return weight + beta * spread.to(weight) * noise


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
