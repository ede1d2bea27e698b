import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn import ShortestPathBias, to_dense_pairs
from pyg_ghn.transforms import AddShortestPathEncoding


def random_graph(num_nodes, acyclic):
    edges = torch.randint(num_nodes, (2 * num_nodes, 2))
    if acyclic:
        edges = edges.sort(dim=1).values
    return AddShortestPathEncoding()(Data(edge_index=edges.t(), num_nodes=num_nodes))


@pytest.mark.parametrize("acyclic, backward", [(True, True), (False, True), (True, False)])
def test_table_equals_phi_of_each_pair(acyclic, backward):
    bias = ShortestPathBias(heads=4, channels=8, backward=backward)
    data = random_graph(30, acyclic)
    (out,) = bias(data.spd)
    lengths = data.spd.view(30, 30).long()  # phi of every pair of nodes, as in the paper
    pairs = [bias.distance(lengths + 2), bias.distance(lengths.t() + 2)][: 1 + backward]
    expected = bias.phi(torch.cat(pairs, dim=-1)).permute(2, 0, 1)[None]
    assert out.shape == (1, 4, 30, 30)
    assert torch.allclose(out, expected, atol=1e-6)

    weights = torch.randn_like(out)
    grads = [
        torch.autograd.grad((b * weights).sum(), list(bias.parameters())) for b in (out, expected)
    ]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("backward", [True, False])
def test_lengths_of_one_graph_as_a_matrix(backward):
    bias, data = ShortestPathBias(heads=2, channels=8, backward=backward), random_graph(9, True)
    assert torch.equal(bias(data.spd.view(9, 9))[0], bias(data.spd)[0])


def test_graphs_without_nodes():
    bias = ShortestPathBias(heads=2, channels=8)
    full = random_graph(3, True)
    batch = torch.tensor([1, 1, 1, 3])  # none in the first, third and, not counted, fifth graph
    out = bias(torch.cat([full.spd, torch.zeros(1, dtype=torch.int16)]), batch)
    assert [part.shape[-1] for part in out] == [0, 3, 0, 1]
    assert torch.equal(out[1], bias(full.spd)[0])
    assert len(bias(torch.empty(0, dtype=torch.int16), torch.empty(0, dtype=torch.long))) == 0


@pytest.mark.parametrize("backward", [True, False])
def test_values_and_gradients_do_not_depend_on_the_batch(backward):
    bias = ShortestPathBias(heads=2, channels=8, backward=backward).double()
    graphs = [random_graph(n, False) for n in (6, 1, 19)]
    batch = Batch.from_data_list(graphs)
    for out, graph in zip(bias(batch.spd, batch.batch), graphs, strict=True):
        assert torch.allclose(out, bias(graph.spd)[0], atol=1e-12)
    padded = bias(*to_dense_pairs(batch.spd, batch.batch))
    for out, graph in zip(padded, graphs, strict=True):
        n = graph.num_nodes
        assert torch.allclose(out[:, :n, :n], bias(graph.spd)[0], atol=1e-12)
        assert (out[:, :n, n:] == -torch.inf).all()
    weights = [torch.randn(1, 2, n, n, dtype=torch.double) for n in (6, 1, 19)]
    together, apart = (
        torch.autograd.grad(
            sum((w * b).sum() for w, b in zip(weights, out, strict=True)), list(bias.parameters())
        )
        for out in (bias(batch.spd, batch.batch), [bias(graph.spd)[0] for graph in graphs])
    )
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16])
def test_dtypes(dtype):
    bias = ShortestPathBias(heads=2, channels=8)
    data = random_graph(6, True)
    expected = bias(data.spd)[0]
    for lengths in (data.spd, data.spd.to(torch.uint8), data.spd.int(), data.spd.long()):
        (out,) = bias.to(dtype)(lengths)
        assert out.dtype == dtype and torch.allclose(out.float(), expected, atol=0.02)


def test_cutoff():
    bias = ShortestPathBias(heads=2, channels=8, cutoff=3)
    beyond, none = torch.tensor([0, 4, 200, 0]).short(), torch.zeros(4, dtype=torch.short)
    assert torch.equal(bias(beyond)[0], bias(none)[0])
    largest = ShortestPathBias(2, 8, cutoff=254)
    assert largest(torch.tensor([0, 254, 0, 0]).short())[0].isfinite().all()
    for cutoff in (0, 255):
        with pytest.raises(ConfigError, match="between 1 and 254"):
            ShortestPathBias(2, 8, cutoff)


@pytest.mark.parametrize(
    ("batch", "message"),
    [(None, "8 values of `spd` do not"), ([0, 0, 1], "8 values of"), ([0, 1, 0, 1], "ascending")],
)
def test_lengths_that_do_not_fit(batch, message):
    batch = None if batch is None else torch.tensor(batch)
    with pytest.raises(GraphError, match=message):
        ShortestPathBias(2, 8)(torch.zeros(8, dtype=torch.short), batch)
