r"""The graphs in the official files of DeepNets-1M, their errors mended."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from pyg_ghn.errors import DatasetError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX

_INPUT = PRIMITIVE_INDEX["input"]
_JOINS = np.array([PRIMITIVE_INDEX[op] for op in ("concat", "sum", "cse")], dtype=np.uint8)
# The last nodes of the two parts of an ImageNet-style stem, with norm and without.
_STEM_ENDS = {
    True: ("stem0.4.weight", "stem1.2.weight"),
    False: ("stem0.3.weight", "stem1.1.weight"),
}


def direct_edges(adj: np.ndarray, num_nodes: int) -> np.ndarray:
    r"""The direct data flow: source and target of each edge, shape :math:`[2, E]`, in ascending
    order.

    Args:
        adj (numpy.ndarray): Lengths of shortest paths, shape :math:`[N, N]`; 1 is an edge.
        num_nodes (int): How many nodes there are.

    Raises:
        DatasetError: If the matrix is of another size.
    """
    if adj.shape != (num_nodes, num_nodes):
        raise DatasetError(f"'adj' of shape {adj.shape} does not fit {num_nodes} nodes.")
    return np.stack(np.nonzero(adj == 1))


def mend_stem(edges: np.ndarray, names: Sequence[str], norm: bool) -> np.ndarray:
    r"""Mends the first known error of the files, in networks with an ImageNet-style stem (but no
    ViTs): what reads the stem's second part was said to read its first one.

    Args:
        edges (numpy.ndarray): See :func:`direct_edges`.
        names (list of str): The parameters' names.
        norm (bool): Whether the network has normalization layers.
    """
    if not set(_STEM_ENDS[norm]) <= set(names):
        return edges  # a part of the stem is cut off
    stem0, stem1 = (names.index(name) for name in _STEM_ENDS[norm])
    source, target = edges
    readers = np.flatnonzero(source == stem0)
    if (source == stem1).sum() != 1 or len(readers) < 2:
        return edges
    before, last = target[readers[-2:]]
    if last - before == 1:
        return edges
    edges = edges.copy()
    edges[0, readers[-1]] = stem1
    return np.unique(edges, axis=1)


def mend_inputs(edges: np.ndarray, ops: np.ndarray) -> np.ndarray:
    r"""Mends the second one: nodes that can have one input only keep the first one.

    Args:
        edges (numpy.ndarray): See :func:`direct_edges`.
        ops (numpy.ndarray): The primitives, shape :math:`[N]`.
    """
    keep = np.isin(ops[edges[1]], _JOINS)
    keep[np.unique(edges[1], return_index=True)[1]] = True
    return edges[:, keep]


def topological_order(edges: np.ndarray, ops: np.ndarray) -> np.ndarray | None:
    r"""The order that puts the input first and every node behind those it reads, as close to the
    given order as that permits; :obj:`None` where the given order is such a one.

    Args:
        edges (numpy.ndarray): Source and target of each edge, shape :math:`[2, E]`.
        ops (numpy.ndarray): The primitives, shape :math:`[N]`.

    Raises:
        DatasetError: If there is not one input, something flows into it, or data flows in a circle.
    """
    inputs = np.flatnonzero(ops == _INPUT)
    if len(inputs) != 1:
        raise DatasetError(f"it has {len(inputs)} input nodes instead of one.")
    source, target = edges
    if (target == inputs[0]).any():
        raise DatasetError(f"node {inputs[0]}, the input, has an incoming edge.")
    if inputs[0] == 0 and (source < target).all():
        return None
    order = _sorted(edges, len(ops), first=int(inputs[0]))
    if len(order) < len(ops):
        raise DatasetError(
            f"data flows in a circle through {len(ops) - len(order)} of its {len(ops)} nodes."
        )
    return np.array(order)


def _sorted(edges: np.ndarray, num_nodes: int, first: int) -> list[int]:
    waiting = np.bincount(edges[1], minlength=num_nodes)
    readers: list[list[int]] = [[] for _ in range(num_nodes)]
    for source, target in edges.T.tolist():
        readers[source].append(target)
    ready = [(node != first, node) for node in np.flatnonzero(waiting == 0).tolist()]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for reader in readers[node]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, (True, reader))
    return order
