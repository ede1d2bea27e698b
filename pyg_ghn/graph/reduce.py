r"""Recorded operations -> typed nodes and edges.

Every tensor carries the set of nodes it directly comes from. Going through the calls in the order
they ran, a rule per operation adds nodes; an operation without a rule passes the union of its
operands' sources on, so it vanishes from the graph. Once all nodes are known, those that carry no
information are contracted.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.builder import INPUT, GraphBuilder, Node
from pyg_ghn.graph.operations import LAYERS, NO_FLOW, SHAPED_LIKE, arguments, flowing
from pyg_ghn.graph.recorder import Call
from pyg_ghn.graph.rules import RULES
from pyg_ghn.graph.trace import Trace
from pyg_ghn.graph.unsupported import MAX_DIM, reasons

JOINS = ("sum", "concat")
WEIGHTED = ("sep_conv", "dil_conv", "conv", "bias", "bn", "ln")


class Reduction(NamedTuple):
    """What a recorded forward pass comes down to: the nodes in topological order, stable in the
    order of recording, the input first, with ``preds`` as positions in this list, each parameter
    named once; and the parameters that no node stands for, each with the reason."""

    nodes: list[Node]
    unsupported: dict[str, str]


def reduce(trace: Trace) -> Reduction:
    """Turns a recorded forward pass into the nodes of its computational graph."""
    builder = GraphBuilder(trace)
    for call in trace.calls:
        _apply(builder, call)
    outputs = builder.sources(*trace.outputs)
    graph = simplify(builder.nodes, outputs)
    if not outputs or (len(graph) > 1 and not any(INPUT in n.preds for n in graph.values())):
        raise GraphError("The output of the model does not depend on its input.")
    position = {index: place for place, index in enumerate(graph)}
    for node in graph.values():
        node.preds = {position[p] for p in node.preds}
    nodes = list(graph.values())
    left = trace.parameters.keys() - _name_once(nodes)
    return Reduction(nodes, reasons(trace, builder, [n for n in trace.parameters if n in left]))


def _apply(builder: GraphBuilder, call: Call) -> None:
    name, written = call.name, None
    if "out" in call.kwargs:
        written = call.out
        call = call._replace(kwargs={k: v for k, v in call.kwargs.items() if k != "out"})
    operands = call.operands
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
    elif not flows:  # a layer of parameters alone: its result may yet turn out to be a weight
        given = arguments(call)
        if builder.value(given.get("input", given.get("query"))).params:
            constant = builder.passed_on(operands, name)
            result = result._replace(params=constant.params, factors=constant.factors)
    for out in flowing(call, operands):
        builder.set_value(out, result)
        if written is not None or any([out is t for t in operands]):
            builder.write_through(out, result)


def _name_once(nodes: list[Node]) -> set[str]:
    """Names each parameter at its first node only, to be predicted once; returns the names."""
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


def simplify(nodes: list[Node], outputs: frozenset[int]) -> dict[int, Node]:
    """Drops what the outputs do not depend on, given nodes in the order of recording, and contracts
    what carries no information. What stays is in topological order; ``preds`` name only each
    other."""
    kept = {INPUT, *outputs}
    # A node's predecessors were recorded before it: the order of recording is topological.
    for index in reversed(range(len(nodes))):
        if index in kept:
            kept |= nodes[index].preds
    graph = {i: nodes[i] for i in sorted(kept)}
    outputs = set(outputs)
    for node in graph.values():
        if node.op in WEIGHTED and not node.preds:
            node.preds.add(INPUT)
    _contract(graph, _squeezes(graph, outputs), outputs)
    while joins := [i for i, n in graph.items() if n.op in JOINS and len(n.preds) < 2]:
        _contract(graph, joins, outputs)
    _pool_before_classifier(graph, outputs)
    return graph


def _contract(graph: dict[int, Node], indices: Iterable[int], outputs: set[int]) -> None:
    """Removes nodes and hands their predecessors to their successors."""
    gone = dict.fromkeys(indices, frozenset())
    for index, node in [*graph.items()]:  # predecessors come first
        if not gone.keys().isdisjoint(node.preds):
            node.preds = {p for pred in node.preds for p in gone.get(pred, (pred,))}
            node.gate = frozenset(p for pred in node.gate for p in gone.get(pred, (pred,)))
        if index in gone:
            gone[index] = graph.pop(index).preds
            if index in outputs:
                outputs.remove(index)
                outputs |= gone[index]


def _squeezes(graph: dict[int, Node], outputs: set[int]) -> list[int]:
    """Global poolings whose result ends in nothing but the gates of ``cse`` nodes."""
    data = set(outputs)  # what goes on otherwise
    for index in reversed(graph):
        if index in data:
            data |= graph[index].preds - graph[index].gate
    return [i for i, node in graph.items() if node.op == "glob_avg" and i not in data]


def _pool_before_classifier(graph: dict[int, Node], outputs: set[int]) -> None:
    """Where a convolution classifies (conv, bias, glob_avg), the pooling goes before it."""
    if len(outputs) != 1 or len(graph) < 4:
        return
    conv, bias, pool = list(graph)[-3:]
    is_chain = graph[pool].preds == {bias} and graph[bias].preds == {conv}
    if is_chain and [graph[i].op for i in (conv, bias, pool)] == ["conv", "bias", "glob_avg"]:
        graph[pool].preds, graph[conv].preds = graph[conv].preds, {pool}
        for index in (conv, bias):  # behind the pooling
            graph[index] = graph.pop(index)
