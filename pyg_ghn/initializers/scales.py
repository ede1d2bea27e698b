r"""What GradInit and NIO have in common: one learned scalar for each parameter tensor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pyg_ghn.errors import ConfigError, DivergedError
from pyg_ghn.nn.report import shortened

BETA1, BETA2, EPS, CLIP = 0.9, 0.999, 1e-8, 1.0


class Scales:
    r"""A scalar for each parameter tensor of a model that requires a gradient, 1 at first and never
    below :obj:`min_scale` (0 for biases), and the Adam that learns them. Steps on the objective and
    steps back to a constraint have a first moment each and share the second one. The model is only
    read until :meth:`apply`."""

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
