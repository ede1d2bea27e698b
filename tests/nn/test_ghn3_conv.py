import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv
from torch_geometric.utils import erdos_renyi_graph, to_undirected

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

SIZES = (7, 1, 12)


@pytest.fixture
def conv():
    return GHN3Conv(16, heads=4)


def make_batch(dtype=None, sizes=SIZES):
    x = torch.randn(sum(sizes), 16, dtype=dtype)
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    return x, batch, [torch.randn(1, 4, n, n, dtype=dtype) for n in sizes]


def dense_reference(conv, x, batch, bias):
    """The layer with attention written out over all nodes of the batch at once: nodes of different
    graphs are masked."""
    logits = x.new_full((4, len(x), len(x)), float("-inf"))
    for graph, part in enumerate(bias):
        (nodes,) = torch.where(batch == graph)
        logits[:, nodes[:, None], nodes] = part[0]
    q, k, v = F.linear(conv.norm1(x), conv.qkv.weight).view(-1, 3, 4, 4).permute(1, 2, 0, 3)
    attention = (q @ k.transpose(1, 2) / 2 + logits).softmax(-1)
    x = x + conv.out((attention @ v).transpose(0, 1).flatten(1))
    return x + conv.mlp[2](F.gelu(conv.mlp[0](conv.norm2(x))))


@pytest.mark.parametrize("sizes", [SIZES, (5,), (1, 1, 1), (3, 0, 4)])
def test_outputs_and_gradients_against_a_dense_reference(sizes):
    conv = GHN3Conv(16, heads=4).double()
    x, batch, bias = make_batch(torch.double, sizes)
    leaves = [x, *(b for b in bias if b.numel()), *conv.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    out, expected = conv(x, batch, bias), dense_reference(conv, x, batch, bias)
    assert torch.allclose(out, expected, atol=1e-12)
    weights = torch.randn_like(out)
    grads = [torch.autograd.grad((o * weights).sum(), leaves) for o in (out, expected)]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("changed", range(3))
@pytest.mark.parametrize("with_bias", [True, False])
def test_nothing_leaks_between_graphs(changed, with_bias, conv):
    x, batch, bias = make_batch()
    before = conv(x, batch, bias if with_bias else None)
    x[batch == changed] = 100 * torch.randn(SIZES[changed], 16)
    bias[changed] = torch.randn_like(bias[changed])
    after = conv(x, batch, bias if with_bias else None)
    assert torch.equal(before[batch != changed], after[batch != changed])
    assert not torch.isclose(before[batch == changed], after[batch == changed]).all(dim=1).any()


def test_no_bias_one_for_all_heads_or_a_boolean_mask(conv):
    x, batch, bias = make_batch()
    zeros = [torch.zeros_like(b) for b in bias]
    assert torch.allclose(conv(x, batch), conv(x, batch, zeros), atol=1e-6)
    assert torch.allclose(conv(x), conv(x, torch.zeros(len(x), dtype=torch.long)), atol=1e-6)
    x, batch, _ = make_batch()
    shared = [torch.randn(1, 1, n, n) for n in SIZES]
    masks = [(bias < 0) | torch.eye(bias.size(-1), dtype=torch.bool) for bias in shared]
    masked = [torch.zeros(mask.shape).masked_fill(~mask, float("-inf")) for mask in masks]
    for given, meant in ((shared, shared), (masks, masked)):
        expected = conv(x, batch, [bias.expand(1, 4, -1, -1) for bias in meant])
        assert torch.allclose(conv(x, batch, given), expected, atol=1e-6)


@pytest.mark.parametrize("sizes", [(0,), (0, 0, 4), (3, 0, 0, 4), (4, 0), ()])
def test_graphs_without_nodes(sizes, conv):
    x, batch, bias = make_batch(sizes=sizes)
    kept = [b for b in bias if b.numel()]
    for given in (bias, None):
        out = conv(x, batch, given)
        parts = zip(x.split([n for n in sizes if n]), kept, strict=True)
        expected = [conv(part, None, given and [b]) for part, b in parts]
        assert torch.allclose(out, torch.cat([x[:0], *expected]), atol=1e-6)
    assert conv(x[:0]).shape == (0, 16)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.double, 1e-5), (torch.bfloat16, 0.1)])
def test_dtypes_and_autocast(dtype, tolerance, conv):
    x, batch, bias = make_batch()
    expected = conv(x, batch, bias)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x, batch, bias)
    assert out.dtype == torch.float and torch.allclose(out, expected, atol=0.1)
    out = conv.to(dtype)(x.to(dtype), batch, [b.to(dtype) for b in bias])
    assert out.dtype == dtype and torch.allclose(out.float(), expected, atol=tolerance)


@pytest.mark.parametrize("batch", [[0, 1, 0, 1], [1, 1, 0, 0]])
def test_batch_vector_that_is_not_sorted(batch, conv):
    with pytest.raises(GraphError, match=r"ascending.*argsort"):
        conv(torch.randn(4, 16), torch.tensor(batch))


@pytest.mark.parametrize("other", [torch.tensor([[0, 1], [1, 2]]), torch.zeros(4)])
def test_edges_or_features_in_the_place_of_the_batch_vector(other, conv):
    with pytest.raises(GraphError, match=r"Expected a batch vector.*Edges .*ShortestPathBias"):
        conv(torch.randn(4, 16), other)


def test_what_does_not_fit(conv):
    with pytest.raises(ConfigError, match=r"batch vector is for graphs of \[2, 1\] nodes"):
        conv(torch.randn(4, 16), torch.tensor([0, 0, 1]))
    with pytest.raises(ConfigError, match=r"bias is for graphs of \[5\] nodes, but `x` has 9"):
        conv(torch.randn(9, 16), None, [torch.zeros(1, 4, 5, 5)])
    for shape in ((1, 3, 9, 9), (4, 9, 9), (1, 4, 8, 9)):
        with pytest.raises(ConfigError, match=r"must have the shape \(1, 4, N, N\)"):
            conv(torch.randn(9, 16), None, [torch.zeros(shape)])
    bias = ShortestPathBias(heads=2, channels=8)(torch.zeros(81, dtype=torch.int16))
    with pytest.raises(ConfigError, match="bias has 2 heads, the layer 4"):
        conv(torch.randn(9, 16), None, bias)
    with pytest.raises(ConfigError, match="divide"):
        GHN3Conv(16, heads=3)


def test_one_tensor_of_biases(conv):
    x, bias = torch.randn(18, 16), torch.randn(2, 4, 9, 9)
    assert torch.equal(conv(x, None, bias), conv(x, None, [bias[:1], bias[1:]]))
    with pytest.raises(ConfigError, match=r"must have the shape \(1, 4, N, N\), got \(1,\)"):
        conv(x[:9], None, torch.zeros(81))


class Network(torch.nn.Module):
    """Two layers over any PyG graphs."""

    def __init__(self):
        super().__init__()
        self.path_bias = ShortestPathBias(heads=4, channels=8, cutoff=20)
        self.convs = torch.nn.ModuleList(GHN3Conv(16, heads=4) for _ in range(2))

    def forward(self, data):
        batch = data.batch if isinstance(data, Batch) else None
        x, attn_bias = data.x, self.path_bias(data.spd, batch)
        for conv in self.convs:
            x = conv(x, batch, attn_bias)
        return x


def ring(n):
    nodes = torch.arange(n)
    return to_undirected(torch.stack([nodes, (nodes + 1) % n]))


KINDS = {
    "directed and cyclic": lambda n: erdos_renyi_graph(n, 0.15, directed=True),
    "undirected": lambda n: erdos_renyi_graph(n, 0.2),
    "disconnected": lambda n: torch.cat([ring(5), ring(n - 5) + 5], dim=1),
    "no edges": lambda n: torch.empty(2, 0, dtype=torch.long),
}


def random_graph(kind, n=12):
    return Data(x=torch.randn(n, 16), edge_index=KINDS[kind](n), num_nodes=n)


@pytest.mark.parametrize("kind", KINDS)
def test_network_is_equivariant_to_the_order_of_nodes(kind):
    network, encode = Network().double(), AddShortestPathEncoding(20)
    data = random_graph(kind)
    data.x = data.x.double()
    order = torch.randperm(data.num_nodes)
    renamed = Data(
        x=data.x[order], edge_index=order.argsort()[data.edge_index], num_nodes=data.num_nodes
    )
    assert torch.allclose(network(encode(renamed)), network(encode(data))[order], atol=1e-12)


def test_network_on_a_batch_of_any_graphs_and_int32_edges():
    network, encode = Network(), AddShortestPathEncoding(20)
    graphs = [encode(random_graph(kind, n)) for kind, n in zip(KINDS, (12, 9, 11, 6), strict=True)]
    graphs.append(encode(random_graph("no edges", 1)))
    out = network(Batch.from_data_list(graphs))
    assert torch.allclose(out, torch.cat([network(graph) for graph in graphs]), atol=1e-5)
    data = random_graph("undirected")
    encode, network = AddShortestPathEncoding(20), Network()
    expected = network(encode(data.clone()))
    data.edge_index = data.edge_index.int()
    assert torch.equal(network(encode(data)), expected)
    data.batch = torch.zeros(data.num_nodes, dtype=torch.int32)
    assert torch.equal(network.convs[0](data.x, data.batch), network.convs[0](data.x))


def test_paths_tell_apart_what_message_passing_cannot():
    """From every node, a ring of twelve with six features in turn, twice, looks like a ring of six:
    messages can't tell it from two rings of six."""
    network, encode = Network(), AddShortestPathEncoding(20)
    x = torch.randn(6, 16).repeat(2, 1)
    one, two = ring(12), torch.cat([ring(6), ring(6) + 6], dim=1)
    messages = GINConv(torch.nn.Linear(16, 16))
    assert torch.allclose(messages(x, one), messages(x, two), atol=1e-6)
    one, two = (network(encode(Data(x=x, edge_index=edges))) for edges in (one, two))
    assert not torch.allclose(one.mean(dim=0), two.mean(dim=0), atol=1e-3)
