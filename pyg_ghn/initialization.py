r"""Predicted parameters as the initialization of a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import GHNError, PredictionError, UnpredictedWarning
from pyg_ghn.nn import GHN
from pyg_ghn.nn.prediction import non_finite
from pyg_ghn.nn.report import shortened


def initialize(
    model: nn.Module,
    ghn: GHN | str | Path,
    input_size: tuple[int, ...] | None = None,
    example_inputs: Tensor | Data | tuple | dict[str, Any] | None = None,
) -> nn.Module:
    r"""Initializes a model in place with the parameters that a GHN predicts for it. Each parameter
    keeps its device, type and memory, whether it requires a gradient or not. Nothing is written
    before all predicted parameters are known to fit.

    Buffers stay as they are, but for those of parametrizations. Running statistics of BatchNorm,
    which a GHN does not predict, fit the new parameters only after some training; until then
    evaluate within :func:`~pyg_ghn.evaluation.batch_statistics`.

    Args:
        model (torch.nn.Module): The model.
        ghn (GHN or str or Path): The graph hypernetwork, or what
            :func:`~pyg_ghn.from_pretrained` takes: a name or path.
        input_size (tuple, optional): Size of one input without the batch, see
            :func:`~pyg_ghn.graph.from_module`. (default: :obj:`None`)
        example_inputs (Tensor, Data, tuple or dict, optional): Inputs with a batch dimension
            instead, for models that take several. (default: :obj:`None`)

    Returns:
        The model.

    Raises:
        GHNError: If the model is on the meta device, or a predicted parameter does not fit it.
        CheckpointError: If there is no such GHN.
        PredictionError: If a predicted value is not finite in the type of the parameter.

    Warns:
        UnpredictedWarning: Once, with the parameters that keep their own initialization and why,
            and with what concerns the whole model, such as BatchNorm without fitting statistics.
            Its attribute :obj:`report` is a :class:`~pyg_ghn.PredictionReport` on all parameters.
    """
    if isinstance(ghn, (str, Path)):
        ghn = from_pretrained(ghn)
    prediction = ghn.predict(model, input_size=input_size, example_inputs=example_inputs)
    assign_parameters(model, {**prediction, **prediction.buffers})
    report = prediction.report
    messages = list(report.notes)
    if report.left:
        messages.insert(
            0,
            f"The GHN does not predict {len(report.left)} of the model's {len(report)} parameters, "
            f"which keep their own initialization: {'; '.join(report.what_is_left(5))}.",
        )
    if messages:
        warnings.warn(UnpredictedWarning(" ".join(messages), report), stacklevel=2)
    return model


@torch.no_grad()
def assign_parameters(model: nn.Module, params: Mapping[str, Tensor]) -> list[str]:
    r"""Copies predicted parameters into a model, once all of them are known to fit.

    Args:
        model (torch.nn.Module): The model.
        params (dict): The parameters, and perhaps buffers, by name.

    Returns:
        The names of the model's parameters that are not among them.

    Raises:
        GHNError: If the model is on the meta device, or a parameter does not fit it.
        PredictionError: If a value is not finite in the type of the parameter.
    """
    own = dict(model.named_buffers(remove_duplicate=False))
    own |= dict(model.named_parameters(remove_duplicate=False))
    for name, value in params.items():
        _check_fits(name, value, own.get(name))
    broken = non_finite((name, value.to(own[name].dtype)) for name, value in params.items())
    if broken:
        raise PredictionError(
            f"Values of {shortened(broken)} are not finite in {own[broken[0]].dtype}; nothing was "
            "written. Where they are too large for the type, initialize the model in float32 and "
            "convert it afterwards."
        )
    for name, value in params.items():
        if own[name].is_inference():  # can be written in this mode only
            with torch.inference_mode():
                own[name].copy_(value)
        else:
            own[name].copy_(value)
    return [name for name, _ in model.named_parameters() if name not in params]


def _check_fits(name: str, value: Tensor, param: Tensor | None) -> None:
    if param is None:
        raise GHNError(f"The GHN predicts '{name}', which the model lacks; nothing was written.")
    if param.is_meta:
        raise GHNError(
            f"Parameter '{name}' is on the meta device and has no storage to write to. Build the "
            "model on a real device instead: `to_empty()` would leave its buffers, such as index "
            "tables and running statistics, undefined. To use a model on the meta device as it is, "
            "run it by `torch.func.functional_call` with `ghn.predict(model)` and the buffers of "
            "one on a real device."
        )
    if value.shape != param.shape:
        raise GHNError(
            f"The GHN predicts '{name}' with shape {tuple(value.shape)}, but the model's has "
            f"{tuple(param.shape)}; nothing was written."
        )
    if value.is_floating_point() and not param.is_floating_point():
        raise GHNError(f"'{name}' is {param.dtype} and can't hold {value.dtype}.")
    if any(s == 0 and n > 1 for s, n in zip(param.stride(), param.shape, strict=True)):
        raise GHNError(
            f"Can't write to '{name}', an expanded tensor whose values share memory; nothing was "
            "written. Make it one of its own by `.clone()`."
        )
