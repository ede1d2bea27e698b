import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.errors import ConfigError
from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding


def make_data(edges, num_nodes):
    return Data(edge_index=torch.tensor(edges).view(-1, 2).t(), num_nodes=num_nodes)


@pytest.mark.parametrize("num_edges", [0, 15, 60])
def test_against_networkx(num_edges):
    edges = torch.randint(30, (num_edges, 2)).tolist()
    graph = nx.DiGraph()
    graph.add_nodes_from(range(30))
    graph.add_edges_from((i, j) for i, j in edges if i != j)
    distances = nx.single_source_shortest_path_length(graph, 0)
    data = AddDegreeEncoding()(make_data(edges, 30))
    assert data.in_degree.tolist() == [graph.in_degree(i) for i in range(30)]
    assert data.out_degree.tolist() == [graph.out_degree(i) for i in range(30)]
    assert data.input_distance.tolist() == [distances.get(i, 0) for i in range(30)]
    assert data.in_degree.dtype == data.out_degree.dtype == data.input_distance.dtype == torch.long


@pytest.mark.parametrize("cutoff", [1, 50, 3000])
def test_distance_is_the_first_row_of_the_shortest_paths(cutoff):
    data = make_data([[i, i + 1] for i in range(1999)], 2000)
    expected = torch.arange(2000)
    expected[cutoff + 1 :] = 0
    assert torch.equal(AddDegreeEncoding(cutoff)(data).input_distance, expected)
    assert torch.equal(AddShortestPathEncoding(cutoff)(data).spd[:2000].long(), expected)


@pytest.mark.parametrize(
    "edges, in_degree, out_degree, distance",
    [
        ([[0, 1], [0, 1], [1, 1], [2, 2]], [0, 1, 0], [1, 0, 0], [0, 1, 0]),  # do not count
        ([[0, 1], [1, 2], [2, 0]], [1, 1, 1], [1, 1, 1], [0, 1, 2]),  # through the input
        ([], [0], [0], [0]),
        ([], [], [], []),
    ],
)
def test_edge_cases(edges, in_degree, out_degree, distance):
    data = AddDegreeEncoding()(make_data(edges, len(in_degree)))
    assert data.in_degree.tolist() == in_degree and data.out_degree.tolist() == out_degree
    assert data.input_distance.tolist() == distance


def test_attribute_names_repr_and_wrong_arguments():
    transform = AddDegreeEncoding(attr_names=("a", "b", "c"))
    data = transform(make_data([[0, 1]], 2))
    assert (data.a.tolist(), data.b.tolist(), data.c.tolist()) == ([0, 1], [1, 0], [0, 1])
    assert str(transform) == "AddDegreeEncoding(cutoff=50)"
    with pytest.raises(ConfigError, match="`cutoff` must be at least 1, got 0"):
        AddDegreeEncoding(0)
    with pytest.raises(ConfigError, match="three attributes"):
        AddDegreeEncoding(attr_names=("a", "b"))
