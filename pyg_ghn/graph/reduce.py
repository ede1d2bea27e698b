r"""Recorded operations -> typed nodes and edges.

Every tensor carries the set of nodes it directly comes from. Going through the calls in the order
they ran, a rule per operation adds nodes; an operation without a rule passes the union of its
operands' sources on, so it vanishes from the graph.
"""

from __future__ import annotations

import heapq

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.builder import INPUT, NOTHING, GraphBuilder, Node
from pyg_ghn.graph.rules import LAYERS, NO_FLOW, RULES, VIEWS
from pyg_ghn.graph.simplify import simplify
from pyg_ghn.graph.trace import Call, Trace, tensors


def reduce(trace: Trace) -> list[Node]:
    r"""Turns a recorded forward pass into the nodes of its computational graph.

    Args:
        trace (Trace): The recorded forward pass.

    Returns:
        The nodes in topological order, stable in the order of recording, the input first;
        ``preds`` are positions in this list.

    Raises:
        GraphError: If the output does not depend on the input.
    """
    builder = GraphBuilder(trace)
    for call in trace.calls:
        _apply(builder, call)
    outputs = builder.sources(*tensors(trace.output))
    if not outputs:
        raise GraphError("The output of the model does not depend on its input.")
    return _in_topological_order(simplify(builder.nodes, outputs))


def _apply(builder: GraphBuilder, call: Call) -> None:
    name = call.name
    if name in NO_FLOW or name.startswith("new_") or name.endswith("_like"):
        return
    operands = list(tensors(call.args, call.kwargs))
    if not operands:
        return
    result = None
    has_sources = any(builder.value(t).sources for t in operands)
    if name in RULES and (has_sources or _reads_constants(builder, call)):
        result = RULES[name](builder, call)
    if result is None:
        result = builder.passed_on(operands, is_view=name in VIEWS)
    for out in tensors(call.out):
        builder.set_value(out, result)
        in_place = any(out is t for t in operands)
        if in_place and out._base is not None:  # what was written through a view
            base = builder.value(out._base)
            sources = base.sources | result.sources
            builder.set_value(out._base, base._replace(sources=sources))


def _reads_constants(builder: GraphBuilder, call: Call) -> bool:
    """Whether a layer is applied to a buffer, coordinates for example. A layer applied to
    parameters is a way to compute a parameter."""
    input = call.args[0] if call.args else call.kwargs.get("input")
    return call.name in LAYERS and builder.value(input) == NOTHING


def _in_topological_order(graph: dict[int, Node]) -> list[Node]:
    successors: dict[int, list[int]] = {i: [] for i in graph}
    missing = {i: len(node.preds) for i, node in graph.items()}
    for index, node in graph.items():
        for pred in node.preds:
            successors[pred].append(index)
    ready = [i for i, count in missing.items() if count == 0 and i != INPUT]
    heapq.heapify(ready)
    order: dict[int, int] = {}
    index = INPUT
    while True:
        order[index] = len(order)
        for after in successors[index]:
            missing[after] -= 1
            if missing[after] == 0:
                heapq.heappush(ready, after)
        if not ready:
            break
        index = heapq.heappop(ready)
    for node in graph.values():
        node.preds = {order[p] for p in node.preds}
    return [graph[i] for i in order]
