r"""What is mended once all nodes are known."""

from __future__ import annotations

from pyg_ghn.graph.builder import INPUT, Node

JOINS = ("sum", "concat")
WEIGHTED = ("sep_conv", "dil_conv", "conv", "bias", "bn", "ln")


def simplify(nodes: list[Node], outputs: frozenset[int]) -> dict[int, Node]:
    r"""Drops what the output does not depend on and contracts what carries no information.

    Args:
        nodes (list): Nodes in the order they were recorded, the input first.
        outputs (frozenset): Indices of the nodes that the model's output comes from.

    Returns:
        The nodes that stay, by index; their ``preds`` name only each other.
    """
    graph = {i: nodes[i] for i in sorted(_ancestors(nodes, outputs) | {INPUT})}
    outputs = set(outputs)
    for node in graph.values():
        if node.op in WEIGHTED and not node.preds:
            node.preds.add(INPUT)
    for squeeze in _squeezes(graph, outputs):
        _contract(graph, squeeze, outputs)
    while joins := [i for i, n in graph.items() if n.op in JOINS and len(n.preds) < 2]:
        for index in joins:
            _contract(graph, index, outputs)
    _pool_before_classifier(graph, outputs)
    return graph


def _ancestors(nodes: list[Node], outputs: frozenset[int]) -> set[int]:
    seen, stack = set(outputs), list(outputs)
    while stack:
        new = nodes[stack.pop()].preds - seen
        seen |= new
        stack.extend(new)
    return seen


def _successors(graph: dict[int, Node]) -> dict[int, list[int]]:
    successors: dict[int, list[int]] = {i: [] for i in graph}
    for index, node in graph.items():
        for pred in node.preds:
            successors[pred].append(index)
    return successors


def _contract(graph: dict[int, Node], index: int, outputs: set[int]) -> None:
    """Removes a node and hands its predecessors to its successors."""
    preds = graph.pop(index).preds
    for node in graph.values():
        if index in node.preds:
            node.preds = (node.preds - {index}) | preds
        if index in node.gate:
            node.gate = (node.gate - {index}) | preds
    if index in outputs:
        outputs.remove(index)
        outputs |= preds


def _squeezes(graph: dict[int, Node], outputs: set[int]) -> list[int]:
    """Global poolings whose result ends in nothing but the gates of ``cse`` nodes."""
    successors = _successors(graph)

    def only_gates(start: int) -> bool:
        stack, seen = [start], {start}
        while stack:
            index = stack.pop()
            if index in outputs:
                return False
            for after in successors[index]:
                if index not in graph[after].gate and after not in seen:
                    seen.add(after)
                    stack.append(after)
        return True

    return [i for i, n in graph.items() if n.op == "glob_avg" and only_gates(i)]


def _pool_before_classifier(graph: dict[int, Node], outputs: set[int]) -> None:
    """Where a convolution classifies (conv, bias, glob_avg), the pooling goes before it."""
    if len(outputs) != 1 or graph[pool := next(iter(outputs))].op != "glob_avg":
        return
    bias = _only_pred(graph, pool, "bias")
    conv = bias and _only_pred(graph, bias, "conv")
    if not conv or _successors(graph)[conv] != [bias] or _successors(graph)[bias] != [pool]:
        return
    graph[pool].preds, graph[conv].preds = graph[conv].preds, {pool}
    outputs.clear()
    outputs.add(bias)


def _only_pred(graph: dict[int, Node], index: int, op: str) -> int | None:
    preds = graph[index].preds
    pred = next(iter(preds)) if len(preds) == 1 else None
    return pred if pred is not None and graph[pred].op == op else None
