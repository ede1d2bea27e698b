from pathlib import Path

import networkx as nx
import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data, InMemoryDataset, OnDiskDataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import erdos_renyi_graph

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn import ShortestPathBias
from pyg_ghn.transforms import (
    AddDegreeEncoding,
    AddShortestPathEncoding,
    AddTopologicalLevel,
    encodings,
)


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


GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "torchvision").glob("*.json.gz"))


@pytest.mark.parametrize("name", [path.name.removesuffix(".json.gz") for path in GOLDEN])
def test_golden_graphs(golden, name):
    graph = golden(f"torchvision/{name}")
    spd = AddShortestPathEncoding()(make_data(graph["edges"], len(graph["nodes"]))).spd.long()
    longer = spd[spd > 1]
    assert {"n_gt1": len(longer), "sum_gt1": longer.sum().item()} == graph["spd"]


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


def test_attribute_and_repr_and_input_left_alone():
    transform = AddShortestPathEncoding(cutoff=7, attr_name="lengths")
    assert transform(make_data([[0, 1]], 2)).lengths.tolist() == [0, 1, 0, 0]
    assert str(transform) == "AddShortestPathEncoding(cutoff=7)"
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


CUTOFF, SIZES = 20, (9, 1, 0, 25, 2)
encode = AddShortestPathEncoding(CUTOFF)


@pytest.fixture
def graphs():
    none = torch.empty(2, 0, dtype=torch.long)
    edges = [erdos_renyi_graph(n, 0.3) if n > 1 else none for n in SIZES]
    return [Data(x=torch.randn(n, 4), edge_index=e) for n, e in zip(SIZES, edges, strict=True)]


def assert_valid(found, graphs):
    """Every graph has the lengths of its own edges, and the layers take them."""
    assert len(found) == len(graphs)
    for graph, original in zip(found, graphs, strict=True):
        assert torch.equal(graph.edge_index, original.edge_index)
        assert torch.equal(graph.spd, encode(original).spd)
    bias = ShortestPathBias(2, 8, CUTOFF)(Batch.from_data_list(list(found)))
    assert bias.sizes == [graph.num_nodes for graph in graphs]


class InMemory(InMemoryDataset):
    def __init__(self, root, graphs=(), **kwargs):
        self.graphs = graphs
        super().__init__(root, **kwargs)
        self.load(self.processed_paths[0])

    raw_file_names = ()
    processed_file_names = "data.pt"

    def process(self):
        self.save([self.pre_transform(graph) for graph in self.graphs], self.processed_paths[0])


def test_batches_loader_and_data_set_in_memory(graphs, tmp_path):
    batch = Batch.from_data_list([encode(graph) for graph in graphs])
    assert_valid(batch.to_data_list(), graphs)
    assert_valid(batch.index_select([3, 0]), [graphs[3], graphs[0]])
    loader = DataLoader([encode(graph) for graph in graphs], batch_size=3)
    assert_valid([graph for batch in loader for graph in batch.to_data_list()], graphs)
    InMemory(tmp_path, graphs, pre_transform=encode)
    dataset = InMemory(tmp_path, pre_transform=encode)  # from disk, where nothing is computed
    assert_valid([*dataset], graphs)
    order = [3, 0, 4]
    assert_valid([*dataset[order].copy()], [graphs[i] for i in order])


@pytest.mark.parametrize("when", ["pre", "on the fly"])
def test_data_set_on_disk(when, graphs, tmp_path):
    before = encode if when == "pre" else lambda graph: graph
    dataset = OnDiskDataset(tmp_path, transform=None if when == "pre" else encode)
    dataset.extend([before(graph) for graph in graphs])
    dataset.close()
    dataset = OnDiskDataset(tmp_path, transform=dataset.transform)
    assert_valid([*dataset], graphs)
    assert_valid(next(iter(DataLoader(dataset, len(graphs)))).to_data_list(), graphs)
    dataset.close()


def test_batches_that_were_not_collated(graphs):
    """As pooling makes them: what is in which graph is told by the batch vector alone."""
    batch = Batch.from_data_list([encode(graph) for graph in graphs])
    path_bias = ShortestPathBias(2, 8, CUTOFF)
    for other in (Data.from_dict(batch.to_dict()), Batch(**batch.to_dict())):
        assert path_bias(other).sizes == [*SIZES]
    whole = Data(edge_index=batch.edge_index, num_nodes=batch.num_nodes)
    batch.spd = encode(whole).spd  # attention over all graphs at once
    with pytest.raises(GraphError, match="do not fit graphs"):
        path_bias(Data.from_dict(batch.to_dict()))


@pytest.mark.parametrize("transform", [encode, AddDegreeEncoding(), AddTopologicalLevel()], ids=str)
def test_batches_are_refused(transform, graphs):
    """One of them all would join their graphs."""
    with pytest.raises(GraphError, match=r"batch of 2 graphs.*each of them.*before"):
        transform(Batch.from_data_list(graphs[:2]))
    transform(Batch.from_data_list([make_data([[0, 1]], 2)]))


def rewired(data):
    return data.clone().update({"edge_index": (data.edge_index + 1) % data.num_nodes})


def renamed(data):
    order = torch.arange(data.num_nodes).roll(2)
    return data.clone().update({"edge_index": order[data.edge_index]})


CHANGES = {
    "subgraph": lambda data: data.subgraph(torch.tensor([0, 2, 3])),
    "edge_subgraph": lambda data: data.edge_subgraph(torch.arange(5)),
    "RemoveIsolatedNodes": T.RemoveIsolatedNodes(),
    "LargestConnectedComponents": T.LargestConnectedComponents(),
    "ToUndirected": T.ToUndirected(),
    "VirtualNode": T.VirtualNode(),
    "rewired": rewired,
    "renamed": renamed,
}


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_graphs_are_refused(change, in_batch, graphs):
    path_bias = ShortestPathBias(2, 8, CUTOFF)
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 0, 5, 6, 4]])  # and a node without
    data = encode(Data(x=torch.randn(8, 4), edge_index=edges))
    changed = CHANGES[change](data.clone())
    if in_batch:
        changed = Batch.from_data_list([encode(graphs[0]), changed, encode(graphs[3])])
    with pytest.raises(GraphError, match=r"`spd`.*(AddShortestPath|compute them again)"):
        path_bias(changed)


@pytest.mark.parametrize("change", CHANGES)
def test_computed_again_they_are_taken(change):
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 0, 5, 6, 4]])
    data = encode(Data(x=torch.randn(8, 4), edge_index=edges))
    changed = encode(CHANGES[change](data))
    assert_valid([changed], [changed])


def test_subgraph_of_a_complete_graph_with_loops():
    """It has as many edges as pairs of nodes, so PyG takes the lengths for features of edges."""
    edges = torch.cartesian_prod(torch.arange(4), torch.arange(4)).t()
    part = encode(Data(edge_index=edges, num_nodes=4)).subgraph(torch.tensor([0, 2]))
    assert_valid([part], [part])
    part = encode(Data(edge_index=edges.flip(1), num_nodes=4)).subgraph(torch.tensor([0, 2]))
    assert torch.equal(part.spd, encode(part).spd)
