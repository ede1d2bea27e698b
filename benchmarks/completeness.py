r"""Whether a graph holds every parameter that it should, checked without the rules that made it."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from pyg_ghn.graph.nested import tensors
from pyg_ghn.graph.operations import (
    NO_FLOW,
    PRODUCTS,
    SHAPED_LIKE,
    SIGNATURES,
    VIEWS,
    arguments,
    flowing,
)
from pyg_ghn.graph.recorder import Call
from pyg_ghn.graph.trace import Trace
from pyg_ghn.graph.unsupported import FACTOR, LARGE, LOOKED_UP, NO_WEIGHT

LEFT_RIGHTLY = frozenset((FACTOR, LARGE, LOOKED_UP, NO_WEIGHT))


def missing_parameters(trace: Trace, data: Data) -> dict[str, str]:
    r"""The parameters that a graph should hold and does not.

    Args:
        trace (Trace): The recorded forward pass.
        data (Data): The graph that was made of it.

    Returns:
        The name of an operation by parameter name: nothing if the graph is complete.
    """
    named = {*data.param_name, *data.bias_name}
    reason = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    return {
        name: operation
        for name, operation in supported_parameters(trace).items()
        if name not in named and reason.get(name) not in LEFT_RIGHTLY
    }


def supported_parameters(trace: Trace) -> dict[str, str]:
    r"""The parameters that must have a node: the weights and biases of the supported operations
    whose result reaches the output.

    This looks at tensors alone. A weight that was computed from several parameters stands for the
    largest of them.

    Args:
        trace (Trace): A recorded forward pass.

    Returns:
        The name of an operation by parameter name.
    """
    origins = {id(t): {name: t.numel()} for name, t in trace.parameters.items()}
    data = {id(t) for t in trace.inputs}
    uses: list[tuple[Call, str]] = []
    for call in trace.calls:
        operands = _operands(call, data)
        made = _made(call, operands)
        uses += [
            (call, max(found, key=found.get))
            for weight in _weights(call, operands, data)
            if (found := origins.get(id(weight)))
        ]
        if any(id(t) in data for t in operands):
            data |= made
        else:
            of_all = {}
            for tensor in operands:
                of_all |= origins.get(id(tensor), {})
            origins.update(dict.fromkeys(made, of_all))
    live = _live(trace, data)
    return {name: call.name for call, name in uses if id(call) in live}


def _operands(call: Call, data: set[int]) -> list[Tensor]:
    """The tensors that flow through a call; data does not flow through ``detach``."""
    if call.name in NO_FLOW or call.name.startswith("new_") or call.name.endswith("_like"):
        return []
    operands = list(tensors(call.args, call.kwargs))
    if call.name == "detach":
        return [t for t in operands if id(t) not in data]
    return operands[:1] if call.name in SHAPED_LIKE else operands


def _weights(call: Call, operands: list[Tensor], data: set[int]) -> list[Tensor]:
    if call.name in SIGNATURES:
        given = arguments(call).items()
        return [t for key, t in given if key.endswith(("weight", "bias")) and isinstance(t, Tensor)]
    if call.name in PRODUCTS:
        others = [t for t in operands if id(t) not in data]
        return [t for t in others[:1] if t.dim() > 1 and len(others) < len(operands)]
    return []


def _live(trace: Trace, data: set[int]) -> set[int]:
    """The ids of the calls whose results the output was computed from."""
    needed = {id(t) for t in trace.outputs}
    live = set()
    for call in reversed(trace.calls):
        operands = _operands(call, data)
        if not needed.isdisjoint(_made(call, operands)):
            live.add(id(call))
            needed.update(map(id, operands))
    return live


def _made(call: Call, operands: list[Tensor]) -> set[int]:
    """The ids of the tensors that a call computes, those that it writes through a view included."""
    outs = flowing(call, operands)
    made = set(map(id, outs))
    if call.name not in VIEWS:  # which may return what they are given
        in_place = [t for t in outs if any(t is o for o in operands)]
        made |= {id(t._base) for t in in_place if t._base is not None}
    return made
