r"""GradInit: scales of parameters from which the first step of an optimizer helps most."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pyg_ghn.calibration import batch_statistics
from pyg_ghn.errors import ConfigError
from pyg_ghn.initializers.scales import Scales, endless


def initialize_gradinit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: str = "sgd",
    *,
    iterations: int = 390,
    lr: float = 1e-2,
    eta: float = 0.1,
    gamma: float = 1.0,
    min_scale: float = 0.01,
) -> nn.Module:
    r"""Multiplies each parameter tensor of a model, in place, by a scalar that is learned as in the
    `"GradInit: Learning to Initialize Neural Networks for Stable and Efficient Training"
    <https://arxiv.org/abs/2102.08098>`_ paper. With the gradient :math:`\mathbf{g}` of the
    cross-entropy :math:`L` on a batch :math:`B`, an iteration is a step of Adam on the scalars

    .. math::
        \min \|\mathbf{g}\| \;\; \textrm{if } \|\mathbf{g}\| > \gamma, \qquad
        \min \tfrac{1}{\eta} L(\tilde{B}; \mathbf{p} - \eta \, \mathcal{A}(\mathbf{g}))
        \;\; \textrm{otherwise}

    where :math:`\mathcal{A}(\mathbf{g})` is :math:`\mathbf{g} / \|\mathbf{g}\|_2` for SGD, and
    :math:`\textrm{sign}(\mathbf{g})` with the norm :math:`\|\mathbf{g}\|_1` for Adam, taken as
    constant. BatchNorm normalizes with the statistics of the batch, dropout is off. The division by
    :math:`\eta` is that of the authors' code; as slopes of scalars are clipped at 1 and moments are
    shared, it matters.

    Args:
        model (torch.nn.Module): The model with a random initialization. Parameters that require no
            gradient stay as they are; so do modes, buffers and gradients.
        batches (iterable): Batches of images and labels, on any device. An iteration takes two of
            them as :math:`B`, and with its second objective a third one, which is
            :math:`\tilde{B}` with the first. At the end it starts again.
        optimizer (str): What the model will be trained with: :obj:`"sgd"` or :obj:`"adam"`.
            (default: :obj:`"sgd"`)
        iterations (int): Their number. (default: :obj:`390`)
        lr (float): Learning rate of the scalars; the authors take 1e-3 for a ResNet-110 with
            BatchNorm. (default: :obj:`1e-2`)
        eta (float): Size of the step :math:`\eta`. (default: :obj:`0.1`)
        gamma (float): Bound :math:`\gamma` of the norm. (default: :obj:`1.0`)
        min_scale (float): Lower bound of the scalars; that of biases is 0. (default: :obj:`0.01`)

    Returns:
        The model.

    Raises:
        ConfigError: If an argument is out of range, there are too few batches, or labels do not
            fit the model.
        DivergedError: If a loss or its gradient is not finite. The model is unchanged then.
    """
    if optimizer not in ("sgd", "adam") or not eta > 0:
        raise ConfigError(
            f"optimizer must be sgd or adam and eta more than 0: {optimizer!r}, {eta}."
        )
    scales, data = Scales(model, lr, min_scale), endless(batches)
    with batch_statistics(model), torch.enable_grad():
        for _ in range(iterations):
            first, second, params = next(data), next(data), scales.params()
            loss = scales.losses(params, first, second).mean()
            grads = torch.autograd.grad(
                loss, list(params.values()), create_graph=True, materialize_grads=True
            )
            if optimizer == "sgd":
                norm = torch.stack([grad.square().sum() for grad in grads]).sum().sqrt()
                directions = [grad.detach() / norm.detach() for grad in grads]
            else:
                norm = torch.stack([grad.abs().sum() for grad in grads]).sum()
                directions = [grad.detach().sign() for grad in grads]
            if norm > gamma:
                scales.step(norm, params, is_constraint=True)
            else:
                moved = zip(params.items(), directions, strict=True)
                stepped = {name: value - eta * step for (name, value), step in moved}
                loss = scales.losses(stepped, first, next(data)).mean()
                scales.step(loss / eta, params, is_constraint=False)
    return scales.apply()
