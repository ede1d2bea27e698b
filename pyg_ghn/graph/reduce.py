r"""Recorded operations -> typed nodes and edges.

Every tensor carries the set of nodes it directly comes from. Going through the calls in the order
they ran, a rule per operation adds nodes; an operation without a rule passes the union of its
operands' sources on, so it vanishes from the graph.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

from torch import Tensor

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.builder import INPUT, GraphBuilder, Node, Value
from pyg_ghn.graph.operations import LAYERS, NO_FLOW, SHAPED_LIKE, arguments, flowing
from pyg_ghn.graph.reasons import MAX_DIM, reasons
from pyg_ghn.graph.rules import RULES
from pyg_ghn.graph.simplify import simplify
from pyg_ghn.graph.trace import Call, Trace, tensors


class Reduction(NamedTuple):
    """What a recorded forward pass comes down to.

    Attributes:
        nodes: The nodes in topological order, stable in the order of recording, the input first;
            ``preds`` are positions in this list. Each parameter is named once.
        unsupported: The parameters that no node stands for, each with the reason.
    """

    nodes: list[Node]
    unsupported: dict[str, str]


def reduce(trace: Trace) -> Reduction:
    r"""Turns a recorded forward pass into the nodes of its computational graph.

    Args:
        trace (Trace): The recorded forward pass.

    Raises:
        GraphError: If the output does not depend on the input.
    """
    builder = GraphBuilder(trace)
    for call in trace.calls:
        _apply(builder, call)
    outputs = builder.sources(*trace.outputs)
    if not outputs:
        raise GraphError("The output of the model does not depend on its input.")
    nodes = _in_topological_order(simplify(builder.nodes, outputs))
    left = trace.parameters.keys() - _name_once(nodes)
    return Reduction(nodes, reasons(trace, builder, [n for n in trace.parameters if n in left]))


def _name_once(nodes: list[Node]) -> set[str]:
    """A parameter is predicted once: the nodes of its later uses bear its shape, not its name.
    Returns the names."""
    named: set[str] = set()
    for node in nodes:
        name, bias_name = node.param_name, node.bias_name
        if name:
            if len(node.param_shape) > MAX_DIM:
                node.param_name = node.param_shape = None
            elif name in named:
                node.param_name = None
            else:
                named.add(name)
        if bias_name:
            if bias_name in named:
                node.bias_name = None
            named.add(bias_name)
    return named


def _apply(builder: GraphBuilder, call: Call) -> None:
    name = call.name
    operands = list(tensors(call.args, call.kwargs))
    if not operands or name in NO_FLOW or name.startswith("new_") or name.endswith("_like"):
        return
    if name in SHAPED_LIKE:
        operands = operands[:1]
    result = None
    flows = builder.sources(*operands)
    if name in RULES and (flows or name in LAYERS):
        result = RULES[name](builder, call)
    if result is None:
        result = builder.passed_on(operands, name)
    elif not flows and builder.value(_input(call)).params:  # may yet turn out to be a weight
        constant = builder.passed_on(operands, name)
        result = result._replace(params=constant.params, factors=constant.factors)
    for out in flowing(call, operands):
        builder.set_value(out, result)
        if out._base is not None and any(out is t for t in operands):
            _write_through(builder, out._base, result)


def _write_through(builder: GraphBuilder, base: Tensor, written: Value) -> None:
    """What is written in place into a view is also in what it is a view of."""
    before = builder.value(base)
    sources = before.sources | written.sources
    is_data = written.sources and not written.params
    builder.set_value(base, Value(sources) if is_data else before._replace(sources=sources))


def _input(call: Call) -> Any:
    return arguments(call).get("input")


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
