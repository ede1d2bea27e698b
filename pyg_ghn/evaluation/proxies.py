r"""What one batch of images tells of an untrained network: zero-cost proxies, which rank
architectures, and how large the signal is on its way."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from pyg_ghn.calibration import batch_statistics
from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.initializers.scales import twice_differentiable

EPS = 1e-5  # of jacob_cov


def score(
    model: nn.Module, images: Tensor, labels: Tensor, names: Sequence[str] | None = None
) -> dict[str, float | GHNError]:
    r"""Scores a network as the `"Zero-Cost Proxies for Lightweight NAS"
    <https://arxiv.org/abs/2101.08134>`_ paper does, from one batch of images. The higher the score,
    the better the network should become; scores of different networks can be ranked only, as they
    reach :math:`10^{61}`.

    With the mean cross-entropy :math:`L` and the weights :math:`\mathbf{W}` of all
    :class:`~torch.nn.Conv2d` and :class:`~torch.nn.Linear` layers, each counted once and with
    gradient zero where the output does not depend on it:

    - :obj:`gradnorm`: :math:`\sum_\mathbf{W} \lVert \partial L / \partial \mathbf{W} \rVert_2`
    - :obj:`snip`: :math:`\sum |w \cdot \partial L / \partial w|`
    - :obj:`plain`: :math:`\sum w \cdot \partial L / \partial w`
    - :obj:`grasp`: :math:`-\sum \mathbf{W} \cdot \mathbf{H} \mathbf{g}` with the gradient
      :math:`\mathbf{g}` and the Hessian :math:`\mathbf{H}`
    - :obj:`fisher`: for each weight half the square, in the mean over images, of
      :math:`\sum a \cdot \partial L / \partial a` over the positions of the channel :math:`a` that
      its layer, called as a module, puts out
    - :obj:`jacob_cov`: :math:`-\sum_v (\log(v + k) + 1 / (v + k))` over the eigenvalues of the
      correlations between images of the gradient of their outputs' sum, :math:`k = 10^{-5}`
    - :obj:`synflow`: :math:`\sum |w \cdot \partial R / \partial w|` with the sum :math:`R` of the
      outputs for one image of ones, the absolute values of all parameters and buffers, BatchNorm
      left out, in float64; :obj:`synflow-bn` keeps BatchNorm
    - :obj:`params` and :obj:`multiply-adds`: the size of the network, and what its forward pass
      takes for one image.

    BatchNorm uses the statistics of the batch, dropout is off. Of several outputs the first counts.

    Args:
        model (torch.nn.Module): The network, in any mode. It is not changed, nor is the random
            state.
        images (Tensor): Images :math:`[B, C, H, W]`, normalized as the network's inputs are.
        labels (Tensor): Their classes :math:`[B]`.
        names (sequence, optional): Which of :obj:`PROXIES`. (default: all)

    Returns:
        The score by name, or an error with the reason where there is no finite one: as a layer
        lacks second derivatives, the memory does not suffice, or the network has neither a Conv2d
        nor a Linear layer.

    Raises:
        ConfigError: If a proxy is unknown, or images and labels don't fit each other.
    """
    names = list(PROXIES if names is None else names)
    if unknown := [name for name in names if name not in PROXIES]:
        raise ConfigError(f"Unknown proxy {unknown[0]!r}; choose from {', '.join(PROXIES)}.")
    if images.dim() != 4 or labels.shape != images.shape[:1] or not len(images):
        raise ConfigError(
            "Proxies need a batch of images [B, C, H, W] and a label for each, got shapes "
            f"{tuple(images.shape)} and {tuple(labels.shape)}."
        )
    found: dict[str, float | GHNError] = {}
    for name in names:
        what = f"{name} of {type(model).__name__}"
        try:
            value = PROXIES[name](model, images, labels)
            found[name] = value if math.isfinite(value) else GHNError(f"{what} is {value}.")
        except Exception as error:  # whatever the model's code raises; its traceback holds memory
            found[name] = GHNError(f"{what} fails: {type(error).__name__}: {error}")
    return found


@contextmanager
def working_copy(model: nn.Module, images: Tensor) -> Iterator[tuple[nn.Module, Tensor]]:
    """Within the block there is a copy of a model that may be changed, and one of images on its
    device and in its type. All of its parameters require a gradient, BatchNorm uses the statistics
    of the batch, dropout is off, and random numbers are those of the outer state, which stays."""
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    like = next(iter(tensors), images)
    devices = [like.device] if like.is_cuda else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
        copied = copy.deepcopy(model)
        for param in copied.parameters():
            param.requires_grad_(param.is_floating_point())
        with batch_statistics(copied), parametrize.cached():
            yield copied, images.detach().to(like, copy=True)


def _logits(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    return _logits(next(iter(output.values() if isinstance(output, Mapping) else output)))


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(_logits(model(images)), labels.to(images.device))


def _gradients(
    model: nn.Module, output: Tensor, create_graph: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """The weights of convolutions and linear layers, with the gradient of an output."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    weights = list({id(m.weight): m.weight for m in layers if m.weight.requires_grad}.values())
    if not weights:
        raise ConfigError("it has no weights of a Conv2d or Linear layer.")
    gradients = torch.autograd.grad(
        output, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return list(zip(weights, gradients, strict=True))


def _by_gradient(
    value: Callable[[Tensor, Tensor], Tensor], model: nn.Module, images: Tensor, labels: Tensor
) -> float:
    """The sum over weights of a value of weight and gradient."""
    with working_copy(model, images) as (net, x):
        pairs = _gradients(net, _loss(net, x, labels))
        return sum(value(weight.double(), grad.double()).item() for weight, grad in pairs)


def _grasp(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with working_copy(model, images) as (net, x), twice_differentiable():
        pairs = _gradients(net, _loss(net, x, labels), create_graph=True)
        for weight, _ in pairs:
            weight.retain_grad()
        # Through the whole graph, or parts without second derivatives would pass for constant.
        sum((grad.detach() * grad).sum() for _, grad in pairs).backward()
        products = (w.double() * w.grad.double() for w, _ in pairs if w.grad is not None)
        return -sum(product.sum().item() for product in products)


def _fisher(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    found = []

    def watch(layer: nn.Module, args: Any, out: Tensor) -> None:
        if not out.requires_grad:
            return
        activations = out.detach().clone()  # what follows may write into the output

        def add(grad: Tensor) -> None:
            product = activations.double() * grad
            if isinstance(layer, nn.Linear):
                product = product.movedim(-1, 1)
            product = product.reshape(*product.shape[:2], -1).sum(2)
            found.append(product.square().mean(0).sum() / 2 * layer.weight[0].numel())

        out.register_hook(add)

    with working_copy(model, images) as (net, x):
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(watch)
        _gradients(net, _loss(net, x, labels))
    return float(sum(found))


def _jacob_cov(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with working_copy(model, images) as (net, x):
        (jacobian,) = torch.autograd.grad(_logits(net(x.requires_grad_())).sum(), x)
    correlations = torch.corrcoef(jacobian.flatten(1).double())
    if not correlations.isfinite().all():
        raise GHNError("an image's gradient is the same for all pixels, as where no signal passes.")
    shifted = torch.linalg.eigvalsh(correlations) + EPS
    return -float((shifted.log() + 1 / shifted).sum())


def _synflow(norms: bool, model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with working_copy(model, images) as (net, x):
        for module in net.modules():
            if isinstance(module, _BatchNorm) and not norms:
                module.forward = lambda x: x
        with torch.no_grad():
            for tensor in net.double().state_dict().values():
                if isinstance(tensor, Tensor) and tensor.dtype != torch.bool:
                    tensor.abs_()
        ones = torch.ones_like(x[:1], dtype=torch.float64)
        pairs = _gradients(net, _logits(net(ones)).sum())
        return sum((weight * grad).abs().sum().item() for weight, grad in pairs)


def _multiply_adds(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with working_copy(model, images[:2]) as (net, x), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            net(x)
        return counter.get_total_flops() / 2 / len(x)


PROXIES: dict[str, Callable[[nn.Module, Tensor, Tensor], float]] = {
    "gradnorm": partial(_by_gradient, lambda weight, grad: grad.norm()),
    "snip": partial(_by_gradient, lambda weight, grad: (weight * grad).abs().sum()),
    "plain": partial(_by_gradient, lambda weight, grad: (weight * grad).sum()),
    "grasp": _grasp,
    "fisher": _fisher,
    "jacob_cov": _jacob_cov,
    "synflow": partial(_synflow, False),
    "synflow-bn": partial(_synflow, True),
    "params": lambda model, images, labels: float(sum(p.numel() for p in model.parameters())),
    "multiply-adds": _multiply_adds,
}
r"""Name to the function of a network, images and labels that :func:`score` calls."""


def activation_variances(model: nn.Module, images: Tensor) -> list[tuple[str, float]]:
    r"""The variance of the activations after each convolution and linear layer for one mini-batch
    (Figures 6 and 9 of the `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet
    Models?" <https://arxiv.org/abs/2303.04143>`_ paper). BatchNorm uses the statistics of the
    batch, dropout is off.

    Args:
        model (torch.nn.Module): The network with its parameters, in any mode. It is not changed.
        images (Tensor): Images :math:`[B, C, H, W]`, normalized as the network's inputs are.

    Returns:
        Names of the :class:`~torch.nn.Conv2d` and :class:`~torch.nn.Linear` layers in the order in
        which they run, each with the variance over all values of its output. A layer that runs
        several times is there as often; one whose weight is used without calling it, as those
        inside of :class:`~torch.nn.MultiheadAttention`, is not.

    Raises:
        GHNError: If the forward pass fails on the images.
    """
    found: list[tuple[str, Tensor]] = []

    def see(name: str, layer: nn.Module, args: Any, out: Tensor) -> None:
        found.append((name, out.double().var(correction=0)))

    try:
        with working_copy(model, images) as (net, x), torch.no_grad():
            for name, module in net.named_modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.register_forward_hook(partial(see, name))
            net(x)
    except Exception as error:  # whatever the model's code raises
        raise GHNError(
            f"The forward pass of {type(model).__name__} fails on images of shape "
            f"{tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    return [(name, float(variance)) for name, variance in found]
