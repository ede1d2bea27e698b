r"""Why parameters of a model have no node in its graph."""

from __future__ import annotations

from collections.abc import Collection

from pyg_ghn.graph.builder import GraphBuilder, Value
from pyg_ghn.graph.operations import LAYERS, NORMS, PRODUCTS, SIGNATURES
from pyg_ghn.graph.recorder import tensors
from pyg_ghn.graph.trace import Trace

MAX_DIM = 4  # GHNs embed and decode shapes of up to (out, in, height, width)
MERGING = LAYERS | PRODUCTS | {"add"}  # position embeddings may have factors as well
UNUSED = "never used in the forward pass"
CUT_OFF = "does not reach the output"
FACTOR = "a factor of a parametrized weight"
LARGE = "more than four dimensions"
NO_WEIGHT = "bias of a normalization that has no weight"
LOOKED_UP = "a table of which entries are looked up by index"


def reasons(trace: Trace, builder: GraphBuilder, names: Collection[str]) -> dict[str, str]:
    r"""Explains, for each of the named parameters, why no node stands for it."""
    if not names:
        return {}
    uses = _uses(trace, builder)
    made = {name for node in builder.nodes for name in (node.param_name, node.bias_name)}
    return {name: _reason(name, builder, uses.get(name), name in made) for name in names}


def _reason(name: str, builder: GraphBuilder, uses: dict[str, Value] | None, is_made: bool) -> str:
    if uses is None:
        return UNUSED
    if any(op in MERGING and name in value.factors for op, value in uses.items()):
        return FACTOR
    if is_made or not uses:
        return CUT_OFF
    if len(builder.shapes[name]) > MAX_DIM and not LAYERS.isdisjoint(uses):
        return LARGE
    if not NORMS.isdisjoint(uses):
        return NO_WEIGHT
    if any(value.gathered for value in uses.values()):
        return LOOKED_UP
    return f"used by no supported operation ({', '.join(uses)})"


def _uses(trace: Trace, builder: GraphBuilder) -> dict[str, dict[str, Value]]:
    """For each parameter that is used: the operations in which it, or what was computed from it,
    meets data."""
    uses: dict[str, dict[str, Value]] = {}
    for call in trace.calls:
        for place, tensor in enumerate(tensors(call.args, call.kwargs)):
            value = builder.value(tensor)
            if not value.params:
                continue
            first = SIGNATURES.get(call.name, ("",))[0]
            is_input = place == 0 and first in ("input", "query")
            use = f"input of {call.name}" if is_input else call.name
            is_data = value.sources and use not in LAYERS  # a layer's result, no weight
            meets = not is_data and builder.value(next(tensors(call.out))).sources
            for name in (*value.params, *value.factors):
                of_name = uses.setdefault(name, {})
                if meets:
                    of_name[use] = value
    return uses
