r"""NIO: scales of parameters with which the gradients of different images agree."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyg_ghn.calibration import batch_statistics
from pyg_ghn.errors import ConfigError
from pyg_ghn.initializers.scales import Scales, endless


def initialize_nio(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    iterations: int = 100,
    lr: float = 3e-3,
    gamma: float = 10.0,
    chunks: int = 4,
    overlap: float = 0.2,
    min_scale: float = 0.01,
) -> nn.Module:
    r"""Multiplies each parameter tensor of a model, in place, by a scalar that is learned as in the
    `"Towards Theoretically Inspired Neural Initialization Optimization"
    <https://arxiv.org/abs/2210.05956>`_ paper. A batch is split into :math:`D` overlapping chunks.
    With the gradients :math:`\mathbf{g}_i` of the cross-entropy on each, an iteration is a step of
    Adam on the scalars

    .. math::
        \min \tfrac{1}{D} \sum_i \|\mathbf{g}_i\| \;\;
        \textrm{if } \tfrac{1}{D} \sum_i \|\mathbf{g}_i\| > \gamma, \qquad
        \max \tfrac{1}{D (D - 1)} \sum_{i \neq j} \cos(\mathbf{g}_i, \mathbf{g}_j)
        + \sum_i \|\mathbf{g}_i\| \;\; \textrm{otherwise.}

    The whole batch goes through the model at once; BatchNorm normalizes with its statistics,
    dropout is off. As in the authors' code, the parameters of BatchNorm are scaled, too, but are
    not among those that the gradients are of.

    Args:
        model (torch.nn.Module): The model with a random initialization. Parameters that require no
            gradient stay as they are; so do modes, buffers and gradients.
        batches (iterable): Batches of images and labels, on any device, one for each iteration. At
            the end it starts again; a single pair of images and labels is taken every time.
        iterations (int): Their number. (default: :obj:`100`)
        lr (float): Learning rate of the scalars. (default: :obj:`3e-3`)
        gamma (float): Bound :math:`\gamma` of the mean norm. (default: :obj:`10.0`)
        chunks (int): The number :math:`D`. (default: :obj:`4`)
        overlap (float): By which share of itself the first chunk reaches into the next; later
            ones are longer, as the authors have them. (default: :obj:`0.2`)
        min_scale (float): Lower bound of the scalars; that of biases is 0. (default: :obj:`0.01`)

    Returns:
        The model.

    Raises:
        ConfigError: If an argument is out of range, batches are too few or too small, or labels do
            not fit the model.
        DivergedError: If a loss or its gradient is not finite. The model is unchanged then.
    """
    if chunks < 2 or not 0 <= overlap < 1:
        raise ConfigError(f"chunks must be 2 or more and overlap in [0, 1): {chunks}, {overlap}.")
    scales, data = Scales(model, lr, min_scale), endless(batches)
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in scales.initial}
    names = [n for n, owner in owners.items() if not isinstance(owner, _BatchNorm)] or [*owners]
    with batch_statistics(model), torch.enable_grad():
        for _ in range(iterations):
            batch, params = next(data), scales.params()
            losses = scales.losses(params, batch)
            size = len(losses) // chunks
            if size == 0:
                raise ConfigError(f"A batch of {len(losses)} has no {chunks} chunks.")
            flat = []
            for i in range(chunks):
                end = int((1 + overlap) * size * (i + 1)) if i < chunks - 1 else len(losses)
                grads = torch.autograd.grad(
                    losses[int((1 - overlap) * size * i) : end].mean(),
                    [params[name] for name in names],
                    create_graph=True,
                    materialize_grads=True,
                )
                flat.append(torch.cat([g.flatten() for g in grads]))
            matrix = torch.stack(flat)
            norms = matrix.square().sum(1).sqrt()
            if norms.mean() > gamma:
                scales.step(norms.mean(), params, is_constraint=True)
            else:
                cosines = matrix @ matrix.mT / norms.outer(norms)
                cosine = (cosines.sum() - cosines.trace()) / (chunks * (chunks - 1))
                scales.step(-cosine - norms.sum(), params, is_constraint=False)
    return scales.apply()
