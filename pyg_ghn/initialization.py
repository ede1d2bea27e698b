r"""Predicted parameters as the initialization of a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyg_ghn.errors import GHNError, UnpredictedWarning
from pyg_ghn.nn import GHN


def initialize(model: nn.Module, ghn: GHN, input_size: tuple[int, ...] | None = None) -> nn.Module:
    r"""Initializes a model in place with the parameters that a GHN predicts for it. Each parameter
    keeps its device and type. Either all predicted parameters are written or none.

    Buffers stay as they are. Running statistics of BatchNorm, which a GHN does not predict, fit
    the new parameters only after some training; until then evaluate within
    :func:`~pyg_ghn.evaluation.batch_statistics`.

    Args:
        model (torch.nn.Module): The model.
        ghn (GHN): The graph hypernetwork.
        input_size (tuple, optional): Size of one input without the batch, see
            :func:`~pyg_ghn.graph.from_module`. (default: :obj:`None`)

    Returns:
        The model.

    Raises:
        GHNError: If the model is on the meta device, or a predicted parameter does not fit it.

    Warns:
        UnpredictedWarning: With the names of the parameters that keep their own initialization.
    """
    left = assign_parameters(model, ghn.predict(model, input_size=input_size))
    if left:
        warnings.warn(
            f"The GHN does not predict {len(left)} of the model's parameters, which keep their own "
            f"initialization: {', '.join(left)}",
            UnpredictedWarning,
            stacklevel=2,
        )
    return model


@torch.no_grad()
def assign_parameters(model: nn.Module, params: Mapping[str, Tensor]) -> list[str]:
    r"""Copies predicted parameters into a model, all of them or none.

    Args:
        model (torch.nn.Module): The model.
        params (dict): The parameters by name.

    Returns:
        The names of the model's parameters that are not among them.

    Raises:
        GHNError: If the model is on the meta device, or a parameter does not fit it.
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, value in params.items():
        _check_fits(name, value, own.get(name))
    for name, value in params.items():
        own[name].copy_(value)
    return [name for name, _ in model.named_parameters() if name not in params]


def _check_fits(name: str, value: Tensor, param: Tensor | None) -> None:
    if param is None:
        raise GHNError(f"The GHN predicts '{name}', which the model lacks; nothing was written.")
    if param.is_meta:
        raise GHNError(
            f"Parameter '{name}' is on the meta device and has no storage to write to; call "
            "`model.to_empty(device=...)` first, or run the model with the dictionary of "
            "`ghn.predict(model)` by `torch.func.functional_call`."
        )
    if value.shape != param.shape:
        raise GHNError(
            f"The GHN predicts '{name}' with shape {tuple(value.shape)}, but the model's has "
            f"{tuple(param.shape)}; nothing was written."
        )
