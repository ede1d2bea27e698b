import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_ghn.errors import GraphError
from pyg_ghn.transforms import AddTopologicalLevel


def make_data(edges, num_nodes):
    return Data(edge_index=torch.tensor(edges).view(-1, 2).t(), num_nodes=num_nodes)


@pytest.mark.parametrize("num_edges", [0, 20, 60, 200])
def test_against_networkx(num_edges):
    order = torch.randperm(40)  # nodes in any order
    edges = torch.randint(40, (num_edges, 2)).sort(dim=1).values
    edges = order[edges[edges[:, 0] < edges[:, 1]]].tolist()
    data = AddTopologicalLevel()(make_data(edges, 40))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(40))
    graph.add_edges_from(edges)
    for level, nodes in enumerate(nx.topological_generations(graph)):
        assert sorted(nodes) == (data.level == level).nonzero().view(-1).tolist()


def test_every_edge_leads_to_a_higher_level():
    data = AddTopologicalLevel()(make_data([[0, 3], [0, 1], [1, 2], [2, 3], [2, 3], [1, 1]], 5))
    assert data.level.tolist() == [0, 1, 2, 3, 0]
    assert str(AddTopologicalLevel()) == "AddTopologicalLevel(level)"
    graphs = [make_data([[0, 1]], 2), make_data([[1, 0]], 3), make_data([], 0)]
    batch = Batch.from_data_list([AddTopologicalLevel("step")(graph) for graph in graphs])
    assert batch.step.tolist() == [0, 1, 1, 0, 0] and batch.step.dtype == torch.long
    with pytest.raises(GraphError, match=r"has a cycle.*RequireAcyclic"):
        AddTopologicalLevel()(make_data([[0, 1], [1, 2], [2, 1]], 3))
