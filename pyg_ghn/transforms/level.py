r"""The steps in which the nodes of an acyclic graph can be visited."""

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import GraphError
from pyg_ghn.transforms.edges import distinct_edges, levels


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
