r"""Graphs without cycles: others are refused, and the steps in which nodes can be visited."""

import networkx as nx
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import GraphError
from pyg_ghn.transforms.edges import distinct_edges, edges, levels


@functional_transform("require_acyclic")
class RequireAcyclic(BaseTransform):
    r"""Lets graphs without cycles pass unchanged (functional name: :obj:`require_acyclic`). A
    computational graph has none, and a GHN has not been trained on any other.

    Raises:
        GraphError: If the graph has no :obj:`edge_index`, or a cycle, which it names.
    """

    def forward(self, data: Data) -> Data:
        source, target = edges(data)
        if (source < target).all():  # nodes in topological order, as `from_module` gives them
            return data
        graph = nx.DiGraph(data.edge_index.t().tolist())
        try:
            cycle = [source for source, _ in nx.find_cycle(graph)]
        except nx.NetworkXNoCycle:
            return data
        names = data.get("param_name") or [None] * data.num_nodes
        nodes = [f"{node} ({names[node]})" if names[node] else str(node) for node in cycle]
        raise GraphError(
            f"The graph has a cycle through the nodes {' -> '.join([*nodes, nodes[0]])}; a "
            "computational graph is acyclic, as `pyg_ghn.graph.from_module` builds it."
        )


@functional_transform("add_topological_level")
class AddTopologicalLevel(BaseTransform):
    r"""Adds the number of edges on the longest path that ends in each node of an acyclic graph
    (functional name: :obj:`add_topological_level`). Every edge leads to a higher level, so that
    the nodes of one level, of all graphs of a batch, can be visited in one step, as
    :class:`~pyg_ghn.nn.GatedDAGConv` does.

    Args:
        attr_name (str, optional): Name of the attribute, a long tensor of shape :math:`[N]`.
            (default: :obj:`"level"`)

    Raises:
        GraphError: If the graph has no valid :obj:`edge_index`, or a cycle.
    """

    def __init__(self, attr_name: str = "level") -> None:
        self.attr_name = attr_name

    def forward(self, data: Data) -> Data:
        found = levels(*distinct_edges(data))
        if found is None:
            raise GraphError(
                "The graph has a cycle, so that its nodes have no levels; "
                "`pyg_ghn.transforms.RequireAcyclic` names it."
            )
        device = data.edge_index.device
        data[self.attr_name] = torch.tensor(found, dtype=torch.long, device=device)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.attr_name})"
