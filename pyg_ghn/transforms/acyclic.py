r"""Refuses graphs that are no computational graphs."""

import networkx as nx
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import GraphError
from pyg_ghn.transforms.edges import edges


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
