r"""The steps in which the nodes of an acyclic graph can be visited."""

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import GraphError
from pyg_ghn.transforms.edges import distinct_edges, reverse_topological_order, successors


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
        source, target, num_nodes = distinct_edges(data)
        order = reverse_topological_order(source, target, num_nodes)
        if order is None:
            raise GraphError(
                "The graph has a cycle, so that its nodes have no levels; "
                "`pyg_ghn.transforms.RequireAcyclic` names it."
            )
        levels, ahead = [0] * num_nodes, successors(source, target, num_nodes)
        for node in reversed(order):
            for successor in ahead[node]:
                levels[successor] = max(levels[successor], levels[node] + 1)
        levels = torch.tensor(levels, dtype=torch.long)
        data[self.attr_name] = levels.to(data.edge_index.device)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.attr_name})"
