r"""What a picture needs to know of each node."""

from __future__ import annotations

from typing import NamedTuple

import networkx as nx
from torch_geometric.data import Batch, Data

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.primitives import PRIMITIVES


class Node(NamedTuple):
    r"""A node of the picture.

    Attributes:
        index: Its row in the :class:`~torch_geometric.data.Data`.
        op: One of :obj:`~pyg_ghn.graph.PRIMITIVES`.
        name: The parameter that it stands for.
        shape: Shape of the parameter or of a pooling kernel.
        preds: Places of its predecessors in the list of nodes, ascending; all come before it.
    """

    index: int
    op: str
    name: str | None = None
    shape: tuple[int, ...] | None = None
    preds: tuple[int, ...] = ()

    @property
    def layer(self) -> tuple[str, ...]:
        """The path of the module that owns the parameter."""
        return tuple(self.name.split(".")[:-1]) if self.name else ()


def nodes_of(data: Data) -> list[Node]:
    r"""The nodes of a computational graph in topological order.

    Args:
        data (Data): The graph, see :func:`~pyg_ghn.graph.from_module`.

    Raises:
        GraphError: If it is a batch, has no nodes, lacks an attribute, has a cycle or an unknown
            primitive.
    """
    missing = [key for key in ("x", "edge_index", "param_name", "param_shape") if key not in data]
    if missing or isinstance(data, Batch) or not data.num_nodes:
        what = f"lacks {', '.join(missing)}" if missing else "is a batch or empty"
        raise GraphError(f"The graph {what}; draw one graph of `pyg_ghn.graph.from_module`.")
    ops = data.x.view(-1).tolist()
    if not set(ops) <= set(range(len(PRIMITIVES))):
        raise GraphError(f"`x` must hold rows of PRIMITIVES, 0 to {len(PRIMITIVES) - 1}.")
    graph = nx.DiGraph()
    graph.add_nodes_from(range(data.num_nodes))
    graph.add_edges_from(edge for edge in data.edge_index.t().tolist() if edge[0] != edge[1])
    try:
        order = list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible as error:
        raise GraphError("The graph has a cycle; only acyclic graphs can be drawn.") from error
    place = {index: at for at, index in enumerate(order)}
    return [
        Node(
            index,
            PRIMITIVES[ops[index]],
            data.param_name[index],
            data.param_shape[index] and tuple(data.param_shape[index]),
            tuple(sorted(place[pred] for pred in graph.predecessors(index))),
        )
        for index in order
    ]


def readers_of(nodes: list[Node]) -> list[list[int]]:
    r"""The successors of each node."""
    readers: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        for pred in node.preds:
            readers[pred].append(place)
    return readers
