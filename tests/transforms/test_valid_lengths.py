"""Lengths stay with the graph that they are of, or are refused: through subgraphs, batches and data
sets on disk."""

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data, InMemoryDataset, OnDiskDataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import erdos_renyi_graph

from pyg_ghn.errors import GraphError
from pyg_ghn.nn import ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

CUTOFF, SIZES = 20, (9, 1, 0, 25, 2)
encode = AddShortestPathEncoding(CUTOFF)


def make_graph(n):
    edges = erdos_renyi_graph(n, 0.3) if n > 1 else torch.empty(2, 0, dtype=torch.long)
    return Data(x=torch.randn(n, 4), edge_index=edges)


@pytest.fixture
def graphs():
    return [make_graph(n) for n in SIZES]


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


def test_batches(graphs):
    batch = Batch.from_data_list([encode(graph) for graph in graphs])
    assert_valid(batch.to_data_list(), graphs)
    assert_valid(batch.index_select([3, 0]), [graphs[3], graphs[0]])


def test_loader(graphs):
    loader = DataLoader([encode(graph) for graph in graphs], batch_size=3)
    assert_valid([graph for batch in loader for graph in batch.to_data_list()], graphs)


def test_data_set_in_memory(graphs, tmp_path):
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
