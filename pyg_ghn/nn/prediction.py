r"""From a model to its predicted parameters, with a report on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.data import Data

from pyg_ghn.errors import PredictionError
from pyg_ghn.graph import from_module
from pyg_ghn.nn.aliases import Distinct, distinct_parameters
from pyg_ghn.nn.describe import describe, first_tile
from pyg_ghn.nn.finite import non_finite
from pyg_ghn.nn.parametrized import Solution, solve_parametrizations
from pyg_ghn.nn.report import ParameterReport, PredictionReport, shortened
from pyg_ghn.nn.targets import Kind, Target

if TYPE_CHECKING:
    from pyg_ghn.nn.ghn import GHN


class Prediction(dict[str, Tensor]):
    r"""The predicted parameters of a model by name. Those that are not predicted are absent.

    Attributes:
        report (PredictionReport): What became of each parameter of the model.
        buffers (dict): Buffers by name that go with the parameters. Only parametrizations that
            keep a state, such as :func:`torch.nn.utils.parametrizations.spectral_norm`, have any.
    """

    report: PredictionReport
    buffers: dict[str, Tensor]

    def __init__(
        self,
        params: Mapping[str, Tensor],
        report: PredictionReport,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(params)
        self.report = report
        self.buffers = dict(buffers or {})

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self)} tensors, report={self.report!r})"


@torch.no_grad()
def predict_model(
    ghn: GHN,
    model: nn.Module,
    input_size: tuple[int, ...] | None = None,
    example_inputs: Tensor | Data | tuple | dict[str, Any] | None = None,
) -> Prediction:
    r"""What :meth:`~pyg_ghn.nn.GHN.predict` does."""
    data = from_module(model, input_size, example_inputs)
    (targets,), decoded = ghn.targets(data), ghn.predict_graph(data)
    left = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    own, named = distinct_parameters(model), dict(model.named_parameters())
    solution = solve_parametrizations(model, _fit_to_model(decoded, own, named, left))
    params = _fit_to_model(decoded | solution.params, own, named, left)
    max_shape = ghn.decoder.max_shape
    tiles = {t.name: first_tile(decoded[t.name], t, max_shape) for t in targets}
    _check_finite(ghn, {**tiles, **solution.params, **solution.buffers})
    described = {t.name: describe(t, max_shape) for t in targets}
    report = [_report(distinct, params, described, solution, left) for distinct in own]
    return Prediction(
        params, PredictionReport(report, _notes(ghn, model, targets)), solution.buffers
    )


def _fit_to_model(
    params: dict[str, Tensor],
    own: Sequence[Distinct],
    named: Mapping[str, nn.Parameter],
    left: dict[str, str],
) -> dict[str, Tensor]:
    """The predictions that the model can take, under all names; what it can't take is left."""
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


def _check_finite(ghn: GHN, tensors: Mapping[str, Tensor]) -> None:
    broken = non_finite(tensors.items())
    if not broken:
        return
    own = non_finite(ghn.named_parameters())
    if own:
        cause = f"its own parameters {shortened(own)} are not either, the checkpoint is broken"
    else:
        dtype = next(ghn.parameters()).dtype
        cause = f"though its own parameters are, in {dtype}; `ghn.float()` has a wider range"
    raise PredictionError(
        f"The GHN predicts values that are not finite for {len(broken)} of {len(tensors)} "
        f"parameters, {shortened(broken)}: {cause}."
    )


def _report(
    distinct: Distinct,
    params: Mapping[str, Tensor],
    described: Mapping[str, ParameterReport],
    solution: Solution,
    left: Mapping[str, str],
) -> ParameterReport:
    param, names, _ = distinct
    name = next((n for n in names if n in params), None)
    plain = ParameterReport(names[0], tuple(param.shape))
    if name is not None:
        note = solution.notes.get(name, "")
        return replace(described.get(name, plain), name=names[0], note=note, tied=names[1:])
    note = "its values are not finite" if non_finite([("", param)]) else ""
    return replace(plain, reason=left[names[0]], note=note, tied=names[1:])


def _notes(ghn: GHN, model: nn.Module, targets: Sequence[Target]) -> Iterator[str]:
    if not any(target.kind is Kind.CLASS_KERNEL for target in targets):
        yield (
            f"The model has no last layer for the GHN's {ghn.num_classes} classes: all of its "
            "layers are predicted alike."
        )
    if any(m.running_mean is not None for m in model.modules() if isinstance(m, _BatchNorm)):
        yield (
            "BatchNorm keeps its running statistics, which do not fit the new parameters: train, "
            "or evaluate with batch statistics."
        )
