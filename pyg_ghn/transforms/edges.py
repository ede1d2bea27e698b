r"""Edges, order of nodes and distances in a PyG graph: what the encodings are made of."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from pyg_ghn.errors import GraphError


def edges(data: Data) -> Tensor:
    r"""The :obj:`edge_index` of a graph with one type of nodes."""
    if isinstance(data, HeteroData):
        raise GraphError(
            "Encodings are of graphs with one type of nodes: call `data.to_homogeneous()` first."
        )
    if data.edge_index is None or data.num_nodes is None:
        raise GraphError("The graph has no `edge_index`; build it with one, even if it is empty.")
    return data.edge_index


def distinct_edges(data: Data) -> tuple[np.ndarray, np.ndarray, int]:
    """Sources and targets of the distinct edges between different nodes, sorted by source, and the
    number of nodes. Duplicated edges count once, self loops not at all."""
    if isinstance(data, Batch) and data.num_graphs > 1:
        raise GraphError(
            f"Encodings are of one graph, not of a batch of {data.num_graphs} graphs: apply the "
            "transform to each of them, before they are collated."
        )
    edge_index, num_nodes = edges(data).cpu().long().numpy(), data.num_nodes
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < num_nodes:
        raise GraphError(
            f"`edge_index` holds nodes {edge_index.min()} to {edge_index.max()}, but the graph "
            f"has {num_nodes} nodes; set `num_nodes` to at least {edge_index.max() + 1}."
        )
    source, target = edge_index
    codes = source * num_nodes + target
    if (source == target).any() or (codes[1:] <= codes[:-1]).any():  # not as `from_module` does it
        codes = np.unique(codes[source != target])
        source, target = codes // num_nodes, codes % num_nodes
    return source, target, num_nodes


def successors(source: np.ndarray, target: np.ndarray, num_nodes: int) -> list[list[int]]:
    r"""The successors of every node, given edges sorted by source."""
    ends = np.cumsum(np.bincount(source, minlength=num_nodes)).tolist()
    target = target.tolist()
    starts = [0, *ends][:-1]
    return [target[start:end] for start, end in zip(starts, ends, strict=True)]


def levels(source: np.ndarray, target: np.ndarray, num_nodes: int) -> list[int] | None:
    r"""The number of edges on the longest path that ends in each node, given edges sorted by
    source, or :obj:`None` where the graph has a cycle."""
    ahead, found = successors(source, target, num_nodes), [0] * num_nodes
    waiting = np.bincount(target, minlength=num_nodes).tolist()
    ready = [node for node in range(num_nodes) if not waiting[node]]
    for node in ready:  # grows while it is read
        for successor in ahead[node]:
            found[successor] = max(found[successor], found[node] + 1)
            waiting[successor] -= 1
            if not waiting[successor]:
                ready.append(successor)
    return found if len(ready) == num_nodes else None


def distances(successors: Sequence[Sequence[int]], start: int, cutoff: int) -> np.ndarray:
    """Lengths of the shortest paths from one node, 0 where there is none or it is longer than the
    cutoff. Plain Python beats SciPy on sparse graphs of a few hundred nodes."""
    lengths = [0] * len(successors)
    seen, level, frontier = {start}, 0, [start]
    while frontier and level < cutoff:
        level, reached = level + 1, []
        for node in frontier:
            for successor in successors[node]:
                if successor not in seen:
                    seen.add(successor)
                    lengths[successor] = level
                    reached.append(successor)
        frontier = reached
    return np.array(lengths, np.int64)
