r"""Why parameters of a model have no node in its graph."""

from __future__ import annotations

from collections.abc import Iterable

from pyg_ghn.graph.builder import GraphBuilder, Node, Value
from pyg_ghn.graph.operations import LAYERS, NORMS, PRODUCTS
from pyg_ghn.graph.trace import Trace, tensors

WEIGHTED = LAYERS | PRODUCTS


def reasons(
    trace: Trace, builder: GraphBuilder, nodes: list[Node], names: Iterable[str]
) -> dict[str, str]:
    r"""Explains why no node stands for some parameters.

    Args:
        trace (Trace): The recorded forward pass.
        builder (GraphBuilder): What the rules made of it.
        nodes (list): The nodes that stayed.
        names (iterable): The parameters to explain.

    Returns:
        A short reason by parameter name.
    """
    found = dict.fromkeys(names, "never used in the forward pass")
    if not found:
        return found
    uses = _uses(trace, builder, found)
    found.update(dict.fromkeys(uses, "does not reach the output"))
    found.update((name, _reason(*of_name.items())) for name, of_name in uses.items() if of_name)
    made = {name for node in builder.nodes for name in (node.param_name, node.bias_name)}
    found.update(dict.fromkeys(made & found.keys(), "does not reach the output"))
    kept = {node.param_name for node in nodes}
    found.update(dict.fromkeys(kept & found.keys(), "more than four dimensions"))
    return found


def _reason(*uses: tuple[str, str]) -> str:
    """Says it of the first use of a special kind, else of all uses."""
    for _, special in uses:
        if special:
            return special
    return f"used by no supported operation ({', '.join(operation for operation, _ in uses)})"


def _uses(trace: Trace, builder: GraphBuilder, names: dict[str, str]) -> dict[str, dict[str, str]]:
    """For each parameter that is used: the operations in which it, or what was computed from it,
    meets data, with what is special about the use."""
    held = builder.tensors_of(names)
    uses: dict[str, dict[str, str]] = {}
    for call in trace.calls:
        for tensor in tensors(call.args, call.kwargs):
            for name in held.get(id(tensor), ()):
                of_name = uses.setdefault(name, {})
                if builder.value(next(tensors(call.out))).sources:
                    of_name[call.name] = _special(call.name, name, builder.value(tensor))
    return uses


def _special(operation: str, name: str, value: Value) -> str:
    if operation in WEIGHTED and name in value.factors:
        return "a factor of a parametrized weight"
    if operation in NORMS:
        return "bias of a normalization that has no weight"
    if value.gathered:
        return "a table of which entries are looked up by index"
    return ""
