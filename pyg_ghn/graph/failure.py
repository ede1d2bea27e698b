r"""What to tell of a forward pass that failed."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

from torch import Tensor, nn

from pyg_ghn.errors import GraphError


def explain(model: nn.Module, args: tuple, kwargs: dict[str, Any], error: Exception) -> GraphError:
    r"""Names the innermost module on the stack of a failed forward pass and the way out."""
    if isinstance(error, GraphError):
        return error
    names = {id(module): name for name, module in model.named_modules()}
    culprit, where = model, ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            culprit = owner
            where = f" in module '{names[id(owner)] or 'model'}' ({type(owner).__name__})"
    given = ", ".join(map(_described, (*args, *kwargs.values()))) or "no input"
    return GraphError(
        f"The forward pass of {type(model).__name__} on {given} failed{where}: "
        f"{type(error).__name__}: {error}. {_advice(model, culprit, len(args) + len(kwargs))}"
    )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _advice(model: nn.Module, culprit: nn.Module, given: int) -> str:
    required = [
        p.name
        for p in inspect.signature(model.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > given:
        names = ", ".join(f"'{name}'" for name in required)
        return f"Its forward needs {names}: pass them as example_inputs, with a batch dimension."
    if isinstance(culprit, (nn.Embedding, nn.EmbeddingBag)):
        return "It looks up integers, token ids for example: pass them as example_inputs."
    return "Check input_size (or pass example_inputs) and that the model runs on a batch of two."
