import warnings

import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_ghn.errors import GraphError
from pyg_ghn.nn import GatedDAGConv
from pyg_ghn.transforms import AddShortestPathEncoding, AddTopologicalLevel

CHANNELS = 6


@pytest.fixture(params=[True, False], ids=["virtual edges", "edges"])
def conv(request):
    return GatedDAGConv(CHANNELS, virtual_edges=request.param).double()


@pytest.fixture
def make_graph():
    """Makes random acyclic graphs whose nodes are in no order."""

    def make(num_nodes, num_edges):
        edges = torch.randint(num_nodes, (num_edges, 2)).sort(dim=1).values
        edges = torch.randperm(num_nodes)[edges[edges[:, 0] < edges[:, 1]]]
        data = Data(
            x=torch.randn(num_nodes, CHANNELS, dtype=torch.float64),
            edge_index=edges.t().contiguous(),
        )
        return AddShortestPathEncoding(cutoff=5)(AddTopologicalLevel()(data))

    return make


def run(conv, data):
    batch = data.batch if isinstance(data, Batch) else None
    return conv(data.x, data.edge_index, data.level, data.spd, batch)


def reference(conv, data):
    """One graph, node by node."""
    num_nodes, h = data.num_nodes, list(data.x)
    spd = data.spd.view(num_nodes, num_nodes)
    adjacency = torch.zeros(num_nodes, num_nodes)
    adjacency[data.edge_index[0], data.edge_index[1]] = 1
    order = data.level.argsort(stable=True).tolist()
    for nodes, edges, path in ((order, adjacency, spd), (order[::-1], adjacency.t(), spd.t())):
        for v in nodes:
            m = torch.zeros(CHANNELS, dtype=torch.float64)
            for u in range(num_nodes):
                if edges[u, v]:
                    m = m + conv.mlps[0](h[u])
                if conv.virtual_edges and path[u, v] > 0:
                    m = m + conv.mlps[1](h[u]) / path[u, v]
            h[v] = conv.gru(m[None], h[v][None])[0]
    return torch.stack(h)


@pytest.mark.parametrize("num_edges", [0, 8, 40, 300])
def test_against_one_node_at_a_time(conv, make_graph, num_edges):
    data, weight = make_graph(20, num_edges), torch.randn(20, CHANNELS, dtype=torch.float64)
    leaves = [data.x.requires_grad_(), *(conv.parameters() if num_edges else ())]
    out, expected = run(conv, data), reference(conv, data)
    assert torch.allclose(out, expected, atol=1e-12)
    grads = (torch.autograd.grad((o * weight).sum(), leaves) for o in (out, expected))
    for grad, value in zip(*grads, strict=True):
        assert value.any() and torch.allclose(grad, value, atol=1e-10)


def test_batch_equals_single_graphs(conv, make_graph):
    graphs = [make_graph(*sizes) for sizes in ((12, 20), (1, 0), (30, 90), (5, 0))]
    expected = torch.cat([run(conv, graph) for graph in graphs])
    assert torch.allclose(run(conv, Batch.from_data_list(graphs)), expected, atol=1e-12)
    data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=0)
    data = AddShortestPathEncoding()(AddTopologicalLevel()(data))
    x = torch.empty(0, CHANNELS, dtype=torch.float64)
    assert conv(x, data.edge_index, data.level, data.spd).shape == (0, CHANNELS)


def test_what_makes_no_difference(conv, make_graph):
    data, order = make_graph(20, 50), torch.randperm(20)
    place = order.argsort()
    renamed = Data(x=data.x[order], edge_index=place[data.edge_index], level=data.level[order])
    renamed.spd = data.spd.view(20, 20)[order][:, order].flatten()
    assert torch.allclose(run(conv, renamed), run(conv, data)[order], atol=1e-12)
    data = make_graph(20, 50)
    expected = run(conv, data)
    data.level = data.level.argsort(stable=True).argsort()  # a level for each node
    assert torch.allclose(run(conv, data), expected, atol=1e-12)
    data = make_graph(10, 20)
    expected, loops = run(conv, data), torch.arange(10).repeat(2, 1)
    data.edge_index = torch.cat([data.edge_index, loops, data.edge_index], dim=1)
    assert torch.allclose(run(conv, data), expected, atol=1e-12)


def test_path_lengths_are_needed_by_virtual_edges_only(make_graph):
    data, conv = make_graph(10, 20), GatedDAGConv(CHANNELS, virtual_edges=False).double()
    assert torch.equal(conv(data.x, data.edge_index, data.level), run(conv, data))
    data, conv = make_graph(10, 20), GatedDAGConv(CHANNELS).double()
    with pytest.raises(GraphError, match="path lengths that `AddShortestPathEncoding` adds"):
        conv(data.x, data.edge_index, data.level)
    for other in (9, 11):
        data.spd = make_graph(other, 20).spd
        with pytest.raises(GraphError, match=r"do not fit|are for graphs"):
            run(conv, data)


def test_wrong_levels(conv, make_graph):
    data = make_graph(10, 20)
    data.level = data.level.flip(0)
    with pytest.raises(GraphError, match="does not lead to a higher level"):
        run(conv, data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_no_step_waits_for_the_device(conv):
    """The number of synchronizations does not grow with the number of levels."""

    def count(num_nodes):
        edges = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
        data = Data(x=torch.randn(num_nodes, CHANNELS, dtype=torch.float64), edge_index=edges)
        data = AddShortestPathEncoding()(AddTopologicalLevel()(data)).to("cuda")
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(conv.cuda(), data)
        torch.cuda.set_sync_debug_mode("default")
        return len(caught)

    assert count(4) == count(40)
