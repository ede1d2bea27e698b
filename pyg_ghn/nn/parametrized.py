r"""Predicted weights of layers that compute their weight from other tensors: by
:mod:`torch.nn.utils.parametrize`, or by the hooks that came before it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

SETTLING_STEPS = 15  # in which a parametrization adapts to a new weight, as spectral_norm does
TOLERANCE = 1e-3  # relative distance up to which a layer's weight is the predicted one
# Hooks that compute a weight before each forward pass, and where they keep its name.
HOOKS = {WeightNorm: "name", SpectralNorm: "name", prune.BasePruningMethod: "_tensor_name"}


@dataclass
class Solution:
    """What makes the weights of parametrized layers the predicted ones, by name: the tensors that
    they are computed from, what else the parametrizations keep, and what becomes of the weight."""

    params: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def solve_parametrizations(model: nn.Module, params: Mapping[str, Tensor]) -> Solution:
    r"""Finds the tensors from which the layers of a model, which is only read, compute the
    predicted weights.

    A graph names the largest tensor that a weight is computed from as if it were the weight. For
    weight normalization, that is the direction of the weight without its length. So the predicted
    weight goes through the :meth:`right_inverse` of a copy of the parametrization, which gives all
    tensors that it is computed from. Without an inverse, the prediction stays as it is."""
    solution = Solution()
    for module_name, module in model.named_modules():
        prefix = f"{module_name}." if module_name else ""
        for hook in module._forward_pre_hooks.values():
            for kind, attribute in HOOKS.items():
                if isinstance(hook, kind):
                    weight = f"{prefix}{getattr(hook, attribute)}"
                    for name in params:
                        if name.startswith(f"{weight}_"):
                            solution.notes[name] = f"{weight} is computed from it"
        if parametrize.is_parametrized(module):
            for weight, parametrization in module.parametrizations.items():
                path = f"{prefix}parametrizations.{weight}."
                _solve(solution, f"{prefix}{weight}", path, parametrization, params)
    return solution


def _solve(
    solution: Solution,
    weight: str,
    path: str,
    parametrization: ParametrizationList,
    params: Mapping[str, Tensor],
) -> None:
    originals = [path + name for name, _ in parametrization.named_parameters(recurse=False)]
    found = [name for name in originals if name in params]
    fitted = _fitted(parametrization, params[found[0]]) if len(found) == 1 else None
    if fitted is None:
        solution.notes |= dict.fromkeys(found, f"{weight} is computed from it")
        return
    value = params[found[0]]
    exact = (fitted() - value).norm() <= TOLERANCE * value.norm()
    what = "the prediction" if exact else "what its parametrization makes of the prediction"
    solution.notes |= dict.fromkeys(originals, f"{weight} is {what}")
    solution.params |= {path + n: p.detach() for n, p in fitted.named_parameters(recurse=False)}
    solution.buffers |= {path + name: buffer for name, buffer in fitted.named_buffers()}


def _fitted(parametrization: ParametrizationList, weight: Tensor) -> ParametrizationList | None:
    """A copy, on the weight's device, that computes this weight or the nearest it can."""
    memo = {
        id(p): nn.Parameter(torch.empty_like(p, device=weight.device))
        for p in parametrization.parameters(recurse=False)
    }
    try:
        fitted = copy.deepcopy(parametrization, memo).to(weight.device, weight.dtype)
        fitted.right_inverse(weight.clone())
        fitted.train()
        if next(fitted.buffers(), None) is not None:
            for _ in range(SETTLING_STEPS):
                fitted()
        return fitted.eval() if fitted.eval()().shape == weight.shape else None
    except (RuntimeError, TypeError, ValueError):  # no inverse, or on the meta device
        return None
