r"""GradInit and NIO, which learn a scale for each parameter tensor before training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from pyg_ghn.calibration import batch_statistics
from pyg_ghn.errors import ConfigError, DivergedError
from pyg_ghn.nn.report import shortened

BETA1, BETA2, EPS, CLIP = 0.9, 0.999, 1e-8, 1.0


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


class Scales:
    r"""A scalar for each parameter tensor that requires a gradient, 1 at first and never below
    :obj:`min_scale` (0 for biases), and the Adam that learns them. Steps on the objective and steps
    back to a constraint have a first moment each and share the second one. :meth:`apply` changes
    the model."""

    def __init__(self, model: nn.Module, lr: float, min_scale: float) -> None:
        named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        if not named:
            raise ConfigError("The model has no parameters that require a gradient.")
        if not (lr > 0 and 0 <= min_scale <= 1):
            raise ConfigError(f"lr must be more than 0 and min_scale in [0, 1]: {lr}, {min_scale}.")
        self.model, self.lr, self.initial = model, lr, named
        self.buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
        minima = [0.0 if "bias" in name.rpartition(".")[2] else min_scale for name in named]
        self.minimum = torch.tensor(minima, dtype=torch.float64)
        self.is_zero = torch.tensor([not p.any() for p in named.values()])
        self.values = torch.ones_like(self.minimum)
        self.first, self.steps = self.values.new_zeros(2, 2, len(named))
        self.second = torch.zeros_like(self.minimum)

    def params(self) -> dict[str, Tensor]:
        r"""The scaled parameters, to be differentiated by."""
        scaled = zip(self.initial.items(), self.values.tolist(), strict=True)
        return {name: (value * scale).requires_grad_() for (name, value), scale in scaled}

    def losses(self, params: dict[str, Tensor], *batches: tuple[Tensor, Tensor]) -> Tensor:
        r"""The cross-entropy of each image of some batches, which go through the model as one."""
        like = next(iter(self.initial.values()))
        images, labels = (torch.cat(parts).to(like.device) for parts in zip(*batches, strict=True))
        images = images.to(like.dtype) if images.is_floating_point() else images
        with twice_differentiable():
            logits = functional_call(self.model, {**self.buffers, **params}, (images,))
        if logits.dim() != 2 or labels.max() >= logits.size(1):
            raise ConfigError(
                f"The model has outputs of shape {tuple(logits.shape[1:])}, which do not fit a "
                f"label {int(labels.max())}."
            )
        return F.cross_entropy(logits, labels, reduction="none")

    def step(self, objective: Tensor, params: dict[str, Tensor], is_constraint: bool) -> None:
        r"""One step down. A scalar has the slope
        :math:`\langle \partial\mathbf{p}, \mathbf{p} \rangle \|\mathbf{p}_0\| / \|\mathbf{p}\| =
        \langle \partial\mathbf{p}, \mathbf{p}_0 \rangle`, clipped to :math:`[-1, 1]`. Tensors that
        are zero are passed over.

        Raises:
            DivergedError: If the objective is not finite, or a slope is no number.
        """
        try:
            grads = torch.autograd.grad(objective, list(params.values()), materialize_grads=True)
        except RuntimeError as error:
            if "derivative for" not in str(error):
                raise
            raise ConfigError(f"The model can't be differentiated twice: {error}.") from error
        products = zip(grads, self.initial.values(), strict=True)
        slopes = torch.stack([(grad * value).sum() for grad, value in products])
        slopes = slopes.to("cpu", torch.float64).clamp(-CLIP, CLIP)
        broken = [
            name for name, slope in zip(params, slopes.tolist(), strict=True) if slope != slope
        ]
        if not objective.isfinite() or broken:
            raise DivergedError(
                f"After {int(self.steps.sum(0).max())} steps of the initialization its objective "
                f"is {objective.item():g}, its derivatives are no numbers by "
                f"{shortened(broken) or 'none'}. The model is as it was. Look for inputs and "
                "parameters that are not finite, and for norms of zeros in the model."
            )
        on = ~self.is_zero & (self.values > 0)
        kind, slopes = int(is_constraint), slopes[on]
        self.steps[kind, on] += 1
        self.first[kind, on] = BETA1 * self.first[kind, on] + (1 - BETA1) * slopes
        self.second[on] = BETA2 * self.second[on] + (1 - BETA2) * slopes.square()
        mean = self.first[kind, on] / (1 - BETA1 ** self.steps[kind, on])
        square = self.second[on] / (1 - BETA2 ** self.steps.sum(0)[on])
        moved = self.values[on] - self.lr * mean / (square.sqrt() + EPS)
        self.values[on] = moved.maximum(self.minimum[on])

    @torch.no_grad()
    def apply(self) -> nn.Module:
        r"""Multiplies the model's parameters by their scalars, in place."""
        for value, scale in zip(self.initial.values(), self.values.tolist(), strict=True):
            value.mul_(scale)
        return self.model


@contextmanager
def twice_differentiable() -> Iterator[None]:
    r"""Within the block models compute by operations that PyTorch can differentiate twice, as far
    as there are others for those that it can't: fused attention, Hardsigmoid."""
    with sdpa_kernel(SDPBackend.MATH), _Twice():
        yield


class _Twice(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))


def endless(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Goes over batches of images and labels again and again. A single pair is a batch, too."""
    if isinstance(batches, (tuple, list)) and batches and isinstance(batches[0], Tensor):
        batches = [batches]
    while True:
        is_empty = True
        for images, labels in batches:
            is_empty = False
            yield images, labels
        if is_empty:
            raise ConfigError(
                "There are no more batches: give more of them, or an iterable that can start "
                "again, such as a list or a DataLoader."
            )
