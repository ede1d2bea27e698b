r"""From the decoded parameters of a graph to those that a model can take, with a report."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch_geometric.data import Data

from pyg_ghn.errors import PredictionError
from pyg_ghn.nn.report import ParameterReport, PredictionReport, shortened
from pyg_ghn.nn.targets import Role, Target

STALE_STATISTICS = (
    "BatchNorm keeps its running statistics, which do not fit the new parameters: pass images, "
    "train, or evaluate with batch statistics."
)
SETTLING_STEPS = 15  # in which a parametrization adapts to a new weight, as spectral_norm does
TOLERANCE = 1e-3  # relative distance up to which a layer's weight is the predicted one
# Hooks that compute a weight before each forward pass, and where they keep its name.
HOOKS = {WeightNorm: "name", SpectralNorm: "name", prune.BasePruningMethod: "_tensor_name"}


class Prediction(dict[str, Tensor]):
    r"""The predicted parameters of a model by name. Those that are not predicted are absent.

    Attributes:
        report (PredictionReport): What became of each parameter of the model.
        graph (Data): The model's computational graph.
        buffers (dict): Buffers by name that go with the parameters. Only parametrizations that
            keep a state, such as :func:`torch.nn.utils.parametrizations.spectral_norm`, have any.
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        report: PredictionReport,
        graph: Data,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(params)
        self.report = report
        self.graph = graph
        self.buffers = dict(buffers or {})

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self)} tensors, report={self.report!r})"


@torch.no_grad()
def fit_to_model(
    ghn: nn.Module,
    model: nn.Module,
    data: Data,
    targets: Sequence[Target],
    decoded: Mapping[str, Tensor],
) -> Prediction:
    """Makes the prediction for a model, which is only read, of what a GHN decoded for the targets
    of its graph: gives tied parameters one value, solves parametrizations, checks that all is
    finite and of the model's shapes, and reports."""
    max_shape = ghn.decoder.max_shape
    left = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    own, named = distinct_parameters(model), dict(model.named_parameters())
    solution = solve_parametrizations(model, _fitting(decoded, own, named, left))
    params = _fitting({**decoded, **solution.params}, own, named, left)
    tiles = {t.name: first_tile(decoded[t.name], t, max_shape) for t in targets}
    computed = {**tiles, **solution.params, **solution.buffers}
    if broken := non_finite(computed.items()):
        if of_ghn := non_finite(ghn.named_parameters()):
            which = shortened(of_ghn)
            cause = f"its own parameters {which} are not either, the checkpoint is broken"
        else:
            dtype = next(ghn.parameters()).dtype
            cause = f"though its own parameters are, in {dtype}; `ghn.float()` has a wider range"
        raise PredictionError(
            f"The GHN predicts values that are not finite for {len(broken)} of {len(computed)} "
            f"parameters, {shortened(broken)}: {cause}."
        )
    described = {t.name: ParameterReport.of(t, max_shape) for t in targets}
    reports = []
    for param, names, _ in own:
        name = next((n for n in names if n in params), None)
        report = described.get(name, ParameterReport(names[0], tuple(param.shape)))
        note, reason = solution.notes.get(name, ""), ""
        if name is None:
            note = "its values are not finite" if non_finite([("", param)]) else ""
            reason = left[names[0]]
        reports.append(replace(report, name=names[0], reason=reason, note=note, tied=names[1:]))
    notes = []
    if not any(target.role is Role.CLASS_KERNEL for target in targets):
        notes.append(
            f"The model has no last layer for the GHN's {ghn.num_classes} classes: what it has "
            "for others is predicted like a hidden layer, and has to be trained."
        )
    if any(m.running_mean is not None for m in model.modules() if isinstance(m, _BatchNorm)):
        notes.append(STALE_STATISTICS)
    return Prediction(params, PredictionReport(reports, notes), data, solution.buffers)


def _fitting(
    params: Mapping[str, Tensor],
    own: Sequence[Distinct],
    named: Mapping[str, nn.Parameter],
    left: dict[str, str],
) -> dict[str, Tensor]:
    """The predictions that the model can take, under all names. Why not others goes to ``left``."""
    fitting, owners = {}, {}
    for param, names, memory in own:
        name = next((n for n in names if n in params), None)
        if name is None:
            continue
        if not param.is_floating_point():
            left[names[0]] = f"{param.dtype} can't hold predicted values"
        elif memory in owners:
            left[names[0]] = f"shares memory with {owners[memory]}"
        elif params[name].shape != param.shape:
            raise PredictionError(
                f"The GHN predicts '{name}' with shape {tuple(params[name].shape)}, but the "
                f"model's has {tuple(param.shape)}."
            )
        else:
            owners[memory] = names[0]
            fitting.update((n, params[name]) for n in names if n in named)
    return fitting


def first_tile(value: Tensor, target: Target, max_shape: tuple[int, ...]) -> Tensor:
    r"""The part of a decoded parameter of which the rest is a repetition."""
    out, in_, *_ = target.decoded(max_shape)
    if target.role.is_vector:
        return value.flatten()[:out]
    return value if target.role is Role.POSITION else value[:out, :in_]


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of the floating-point tensors, on any devices, that hold an infinity or NaN."""
    extremes: dict[torch.device, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            wide = tensor if tensor.element_size() > 1 else tensor.float()
            # Much faster than `isfinite` of all elements; the extremes of what holds a NaN are NaN.
            extremes[tensor.device][name] = torch.stack(torch.aminmax(wide)).isfinite().all()
    found = []
    for of_device in extremes.values():  # one transfer from each
        finite = torch.stack([*of_device.values()]).tolist()
        found += [name for name, ok in zip(of_device, finite, strict=True) if not ok]
    return found


class Distinct(NamedTuple):
    r"""A parameter under all of its names."""

    param: nn.Parameter
    names: tuple[str, ...]
    memory: int  # equal for parameters that overlap


def distinct_parameters(model: nn.Module) -> list[Distinct]:
    r"""The parameters of a model in its order, each of them once: tied ones, and those that are the
    same view of the same memory, are one parameter."""
    found: dict[Hashable, tuple[nn.Parameter, list[str]]] = {}
    for name, param in model.named_parameters(remove_duplicate=False):
        address = _address(param)
        view = (param.device, address, tuple(param.shape), param.stride(), param.dtype)
        found.setdefault(id(param) if address is None else view, (param, []))[1].append(name)
    spans = []
    for index, (param, _) in enumerate(found.values()):
        address = _address(param)
        steps = zip(param.shape, param.stride(), strict=True)
        # Only where both fill their memory without gaps do two that meet share elements.
        if address is not None and param.numel() == sum((n - 1) * s for n, s in steps) + 1:
            spans.append((address, address + param.numel() * param.element_size(), index))
    memory, first, end = list(range(len(found))), -1, 0
    for start, stop, index in sorted(spans):
        if start >= end:
            first = index
        memory[index], end = first, max(end, stop)
    return [Distinct(p, tuple(names), memory[i]) for i, (p, names) in enumerate(found.values())]


def _address(param: Tensor) -> int | None:
    if param.is_meta or not param.numel():
        return None
    try:
        return param.data_ptr()
    except RuntimeError:  # a subclass that is made of several tensors
        return None


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
