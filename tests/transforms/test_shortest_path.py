import networkx as nx
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from pyg_ghn.errors import ConfigError
from pyg_ghn.transforms import AddShortestPathEncoding, encodings


def make_data(edges, num_nodes):
    return Data(edge_index=torch.tensor(edges).view(-1, 2).t(), num_nodes=num_nodes)


def random_edges(num_nodes, num_edges, acyclic):
    edges = torch.randint(num_nodes, (num_edges, 2))
    if acyclic:
        edges = edges.sort(dim=1).values
        edges = edges[edges[:, 0] < edges[:, 1]]
    return edges.tolist()


def by_networkx(edges, num_nodes, cutoff):
    graph = nx.DiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges)
    lengths = torch.zeros(num_nodes, num_nodes, dtype=torch.int16)
    for source, found in nx.all_pairs_shortest_path_length(graph, cutoff):
        for target, length in found.items():
            lengths[source, target] = length
    return lengths


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("num_edges", [0, 20, 60, 200])
@pytest.mark.parametrize("cutoff", [1, 3, 50])
def test_against_networkx(acyclic, num_edges, cutoff):
    edges = random_edges(40, num_edges, acyclic)
    data = AddShortestPathEncoding(cutoff)(make_data(edges, 40))
    assert data.spd.dtype == torch.int16 and data.spd.shape == (1600,)
    assert torch.equal(data.spd.view(40, 40), by_networkx(edges, 40, cutoff))


@pytest.mark.parametrize(
    "num_nodes, num_edges", [(3, 6), (64, 100), (65, 90), (150, 400), (150, 9000)]
)
@pytest.mark.parametrize("words", [1, 1 << 22])
def test_undirected_against_networkx(num_nodes, num_edges, words, monkeypatch):
    monkeypatch.setattr(encodings, "_MOST_WORDS", words)
    edges = random_edges(num_nodes, num_edges, False)
    edges += [[b, a] for a, b in edges]
    data = AddShortestPathEncoding(7)(make_data(edges, num_nodes))
    assert torch.equal(data.spd.view(num_nodes, -1), by_networkx(edges, num_nodes, 7))


def test_ring_with_long_paths():
    edges = [[i, (i + 1) % 200] for i in range(200)]
    spd = AddShortestPathEncoding(150)(make_data(edges, 200)).spd.view(200, 200)
    expected = (torch.arange(200) - torch.arange(200)[:, None]) % 200
    assert torch.equal(spd, expected.where(expected <= 150, 0).short())


@pytest.mark.parametrize("acyclic", [True, False])
def test_is_independent_of_node_order(acyclic):
    edges = torch.tensor(random_edges(30, 60, acyclic))
    order = torch.randperm(30)
    lengths = AddShortestPathEncoding()(make_data(edges.tolist(), 30)).spd.view(30, 30)
    renamed = AddShortestPathEncoding()(make_data(order[edges].tolist(), 30)).spd.view(30, 30)
    assert torch.equal(renamed[order][:, order], lengths)


def test_golden_graphs(golden, golden_names):
    for name in golden_names:
        graph = golden(f"torchvision/{name}")
        data = make_data(graph["edges"], len(graph["nodes"]))
        spd = AddShortestPathEncoding()(data).spd.long()
        expected = graph["spd"]
        assert [(spd > 1).sum(), spd[spd > 1].sum()] == [expected["n_gt1"], expected["sum_gt1"]]


@pytest.mark.parametrize(
    "edges, num_nodes, expected",
    [
        ([], 0, []),
        ([], 1, [0]),
        ([], 2, [0, 0, 0, 0]),
        ([[0, 0]], 1, [0]),
        ([[0, 1], [0, 1], [1, 1]], 2, [0, 1, 0, 0]),
        ([[1, 0]], 2, [0, 0, 1, 0]),
        ([[0, 1], [1, 0]], 2, [0, 1, 1, 0]),
    ],
)
def test_edge_cases(edges, num_nodes, expected):
    assert AddShortestPathEncoding()(make_data(edges, num_nodes)).spd.tolist() == expected


def test_collates_graphs_of_different_size():
    transform = AddShortestPathEncoding()
    graphs = [transform(make_data(random_edges(n, 3 * n, True), n)) for n in (4, 9, 1)]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    parts = batch.spd.split([16, 81, 1])
    assert all(torch.equal(part, g.spd) for part, g in zip(parts, graphs, strict=True))
    assert [torch.equal(batch[i].spd, graphs[i].spd) for i in range(3)] == [True] * 3


def test_attribute_and_repr():
    transform = AddShortestPathEncoding(cutoff=7, attr_name="lengths")
    assert transform(make_data([[0, 1]], 2)).lengths.tolist() == [0, 1, 0, 0]
    assert str(transform) == "AddShortestPathEncoding(cutoff=7)"


def test_input_is_left_alone():
    data = make_data([[0, 1]], 2)
    AddShortestPathEncoding()(data)
    assert "spd" not in data


@pytest.mark.parametrize("cutoff", [0, -1, 1 << 14])
def test_bad_cutoff(cutoff):
    with pytest.raises(ConfigError, match="cutoff"):
        AddShortestPathEncoding(cutoff)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_stays_on_the_device():
    data = make_data([[0, 1]], 2).to("cuda")
    assert AddShortestPathEncoding()(data).spd.device == data.edge_index.device
