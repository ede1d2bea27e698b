"""GHN3Conv and its biases as layers of anybody's PyG model."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GINConv, GraphNorm, Sequential, global_mean_pool, to_hetero
from torch_geometric.utils import erdos_renyi_graph, to_dense_batch, to_undirected

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn import AttentionBias, GHN3Conv, PairBias, ShortestPathBias, to_dense_pairs
from pyg_ghn.nn.attention_bias import Layout
from pyg_ghn.transforms import AddShortestPathEncoding

SIZES = (20, 5, 0, 40, 5, 19, 1)


def make_batch(sizes=SIZES):
    encode, graphs = AddShortestPathEncoding(20), []
    for n in sizes:
        edges = erdos_renyi_graph(n, 0.2) if n > 1 else torch.empty(2, 0, dtype=torch.long)
        graph = Data(x=torch.randn(n, 16), edge_index=edges, num_nodes=n)
        graph.pair_attr = torch.randn(n * n, 3)
        graphs.append(encode(graph))
    return Batch.from_data_list(graphs)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.path_bias = ShortestPathBias(4, 16, 20)
        self.convs = nn.ModuleList(GHN3Conv(16, 4) for _ in range(2))

    def forward(self, x, spd, batch):
        attn_bias = self.path_bias(spd, batch)
        for conv in self.convs:
            x = conv(x, None, attn_bias)
        return x


@pytest.mark.parametrize("sizes", [SIZES, (7, 7, 7), (300, 2, 290, 3), (9, 8) * 600])
def test_every_node_is_in_one_block(sizes):
    layout, x = Layout(sizes, torch.device("cpu")), torch.randn(sum(sizes), 2)
    graphs = [graph for block in layout.blocks for graph in block.graphs]
    assert sorted(graphs) == [graph for graph, size in enumerate(sizes) if size]
    assert torch.equal(layout.join([*layout.split(x)]), x)
    graph_of = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[:, None]
    for block, own in zip(layout.blocks, layout.split(graph_of), strict=True):
        assert (own == torch.tensor(block.graphs)[:, None, None]).all()  # padding is of no other
    assert len(layout.blocks) <= 3  # small graphs share blocks whatever their size


def test_bias_of_any_pairs_and_sums():
    data, pair_bias = make_batch(), PairBias(3, heads=4)
    path_bias = ShortestPathBias(4, 16, 20)
    both = path_bias(data) + pair_bias(data)
    starts = [0, *torch.tensor(SIZES).square().cumsum(0).tolist()]
    for i, n in enumerate(SIZES):
        pairs = data.pair_attr[starts[i] : starts[i + 1]]
        expected = pair_bias.lin(pairs).view(n, n, 4).permute(2, 0, 1)[None]
        expected = expected + path_bias(data)[i]
        assert both[i].shape == expected.shape and torch.allclose(both[i], expected, atol=1e-6)
    listed = AttentionBias.of_graphs([*both], heads=4)
    conv = GHN3Conv(16, 4)
    assert torch.allclose(conv(data.x, None, listed), conv(data.x, None, both), atol=1e-5)
    with pytest.raises(ConfigError, match="same graphs"):
        both + path_bias(make_batch((3,)))
    with pytest.raises(GraphError, match="has 2 features for each pair, not 3"):
        pair_bias(data.pair_attr[:, :2], data.batch)


def test_padded_form_equals_sparse():
    data, network = make_batch((5, 9, 1)), Network()
    x, mask = to_dense_batch(data.x, data.batch)
    spd, same = to_dense_pairs(data.spd, data.batch)
    assert torch.equal(mask, same) and spd.shape == (3, 9, 9) and not spd[0, 5:].any()
    expected = network(data.x, data.spd, data.batch)
    assert torch.allclose(network(x, spd, mask)[mask], expected, atol=1e-6)
    conv, bias = network.convs[0], network.path_bias(spd, mask)
    out, weights = conv(x, None, bias, return_attention_weights=True)
    assert torch.allclose(out[mask], conv(data.x, None, network.path_bias(data)), atol=1e-6)
    assert len(weights) == 3 and not weights[0][..., 5:].any()


def test_padded_form_takes_masks_and_refuses_what_would_mix_graphs():
    data, conv = make_batch((5, 9, 1)), GHN3Conv(16, 4)
    x, mask = to_dense_batch(data.x, data.batch)
    expected, keys = conv(data.x, data.batch), mask[:, None, None]
    assert torch.allclose(conv(x, None, keys)[mask], expected, atol=1e-6)
    out, weights = conv(x, None, keys, return_attention_weights=True)
    assert torch.allclose(out[mask], expected, atol=1e-6) and not weights[0][..., 5:].any()
    with pytest.raises(ConfigError, match=r"`batch`.*padded.*mask\[:, None, None\]"):
        conv(x, mask)
    with pytest.raises(ConfigError, match=r"padded nodes.*one tensor.*AttentionBias"):
        conv(x, None, ShortestPathBias(4, 16)(data))
    for norm in ("batch_norm", "graph_norm", GraphNorm(16)):
        with pytest.raises(ConfigError, match=r"padded nodes.*(Batch|Graph)Norm"):
            GHN3Conv(16, 4, norm=norm)(x, None, keys)


@pytest.mark.parametrize("with_bias", [True, False])
def test_attention_weights(with_bias):
    data, conv = make_batch(), GHN3Conv(16, 4)
    bias = ShortestPathBias(4, 16, 20)(data) if with_bias else None
    out, weights = conv(data.x, data.batch, bias, return_attention_weights=True)
    assert torch.equal(out, conv(data.x, data.batch, bias))
    assert [w.shape for w in weights] == [(4, n, n) for n in SIZES]
    assert all(torch.allclose(w.sum(-1), torch.ones(4, len(w[0])), atol=1e-5) for w in weights)


@pytest.mark.parametrize("kind", ["dropout", "attn_dropout"])
def test_dropout_acts_in_training_only(kind):
    data, conv = make_batch(), GHN3Conv(16, 4, **{kind: 0.5})
    assert not torch.equal(conv(data.x, data.batch), conv(data.x, data.batch))
    conv.eval()
    assert torch.equal(conv(data.x, data.batch), conv(data.x, data.batch))


@pytest.mark.parametrize("norm", ["batch_norm", "graph_norm", GraphNorm(16), None])
@pytest.mark.parametrize("act", ["leaky_relu", None])
def test_norms_and_activations(norm, act):
    data, conv = make_batch(), GHN3Conv(16, 4, act=act, norm=norm)
    bias = ShortestPathBias(4, 16, 20)(data)
    expected = conv(data.x, data.batch, bias)  # the graphs are known from any of these
    for batch, attn_bias in ((None, bias), ([*SIZES], bias), (None, [*bias])):
        assert torch.allclose(conv(data.x, batch, attn_bias), expected, atol=1e-5)
    assert isinstance(conv.mlp[1], nn.Identity if act is None else nn.LeakyReLU)
    assert conv.norm1 is not conv.norm2


@pytest.mark.parametrize("norm", ["layer_norm", "LayerNorm"])
def test_layer_norm_is_of_each_node_whatever_its_arguments(norm):
    data, conv = make_batch(), GHN3Conv(16, 4, norm=norm, norm_kwargs={"eps": 0.1})
    assert torch.allclose(conv.norm1(data.x), F.layer_norm(data.x, (16,), eps=0.1))
    x, mask = to_dense_batch(data.x, data.batch)
    expected = conv(data.x, data.batch)
    assert torch.allclose(conv(x, None, mask[:, None, None])[mask], expected, atol=1e-6)
    assert GHN3Conv(16, 4, norm=norm, norm_kwargs={"mode": "graph"}).norm1.mode == "graph"


def test_in_sequential_and_compiled_for_any_sizes():
    data, network = make_batch(), Network()
    arguments = "x, batch, attn_bias"
    model = Sequential(arguments, [(conv, f"{arguments} -> x") for conv in network.convs])
    expected = network(data.x, data.spd, data.batch)
    assert torch.allclose(model(data.x, None, network.path_bias(data)), expected, atol=1e-6)
    counter = CompileCounter()
    compiled = torch.compile(network, backend=counter, dynamic=True)
    frames = []
    for sizes in (SIZES, (8, 3), (30,), (11, 12, 13, 14)):
        data = make_batch(sizes)
        expected = network(data.x, data.spd, data.batch)
        assert torch.allclose(compiled(data.x, data.spd, data.batch), expected, atol=1e-5)
        frames.append(counter.frame_count)
    assert frames[0] == frames[-1]


def test_export():
    def padded(sizes):
        data = make_batch(sizes)
        x, mask = to_dense_batch(data.x, data.batch)
        return x, to_dense_pairs(data.spd, data.batch)[0], mask

    network, graphs, nodes = Network(), torch.export.Dim("graphs"), torch.export.Dim("nodes")
    sizes = ({0: graphs, 1: nodes}, {0: graphs, 1: nodes, 2: nodes}, {0: graphs, 1: nodes})
    exported = torch.export.export(network, padded((5, 9, 7)), dynamic_shapes=sizes).module()
    other = padded((4, 12))
    assert torch.allclose(exported(*other), network(*other), atol=1e-5)


def test_heterogeneous_graphs_and_those_without_paths_are_refused():
    data = HeteroData()
    data["a"].x = torch.randn(3, 16)
    with pytest.raises(GraphError, match="to_homogeneous"):
        ShortestPathBias(4, 16)(data)
    data = make_batch((9,)).get_example(0)
    del data.spd
    with pytest.raises(GraphError, match=r"`spd`.*AddShortestPath"):
        ShortestPathBias(4, 16)(data)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GHN3Conv(16, 4)

        def forward(self, x, edge_index):
            return self.conv(x)

    with pytest.raises(ConfigError, match="leave it out of `to_hetero`"):
        to_hetero(Model(), (["a"], [("a", "to", "a")]))


@pytest.mark.filterwarnings("ignore:.*GraphGym:UserWarning")
def test_layer_of_graphgym():
    from torch_geometric.graphgym.models.layer import LayerConfig
    from torch_geometric.graphgym.register import layer_dict

    import pyg_ghn.nn.graphgym  # noqa: F401

    layer, data = layer_dict["ghn3conv"](LayerConfig(dim_in=16, dim_out=16), heads=2), make_batch()
    assert layer(data.clone()).x.shape == data.x.shape
    with pytest.raises(ConfigError, match="dim_inner"):
        layer_dict["ghn3conv"](LayerConfig(dim_in=16, dim_out=8))


encode = AddShortestPathEncoding(20)


class Model(nn.Module):
    def __init__(self, messages=False):
        super().__init__()
        self.local = GINConv(nn.Linear(4, 4)) if messages else None
        self.path_bias, self.conv = ShortestPathBias(2, 8, 20), GHN3Conv(4, 2)

    def forward(self, x, edge_index=None, spd=None):
        data, batch = x, None
        if isinstance(data, Data):
            x, edge_index, spd, batch = data.x, data.edge_index, data.spd, data.get("batch")
        if self.local is not None:
            x = self.local(x, edge_index)
        return global_mean_pool(self.conv(x, None, self.path_bias(spd, batch)), batch)


def path():
    """A ring of four with a tail: without an edge of the tail, nodes are out of reach."""
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0], [3, 4], [4, 5]]).t()
    return encode(Data(x=torch.randn(6, 4), edge_index=to_undirected(edges)))


def explain(model, data, **masks):
    explainer = Explainer(
        model.eval(),
        GNNExplainer(epochs=5),
        explanation_type="model",
        model_config={"mode": "regression", "task_level": "graph", "return_type": "raw"},
        **masks,
    )
    return explainer(data.x, data.edge_index, spd=data.spd)


def test_masks_of_nodes_and_of_edges_for_messages():
    data = path()
    mask = explain(Model(), data, node_mask_type="attributes").node_mask
    assert mask.shape == (6, 4) and mask.isfinite().all() and mask.any()
    data, masks = path(), {"node_mask_type": "attributes", "edge_mask_type": "object"}
    assert explain(Model(messages=True), data, **masks).edge_mask.any()
    with pytest.raises(ValueError, match="Could not compute gradients for edges"):
        explain(Model(), data, **masks)


def test_importance_of_edges():
    text = (Path(__file__).parents[2] / "docs" / "ghn3conv.md").read_text()
    (code,) = re.findall(r"```python\n([^`]*def edge_importance.*?)```", text, re.S)
    namespace = {"torch": torch}
    exec(code, namespace)
    model, data = Model().eval(), path()
    importance = namespace["edge_importance"](model, data, encode)
    assert importance.shape == (12,) and (importance > 0).all()
    (back,) = torch.where((data.edge_index == data.edge_index[:, :1].flip(0)).all(dim=0))
    assert torch.isclose(importance[0], importance[back])  # both directions go at once
    fewer = Data(x=data.x, edge_index=data.edge_index[:, data.edge_index.min(dim=0).values < 4])
    last = importance[(data.edge_index == 5).any(dim=0)]
    expected = (model(encode(fewer)) - model(data)).norm()
    assert torch.allclose(last, expected.expand(2), atol=1e-5)
    blind = Model()
    nn.init.zeros_(blind.path_bias.phi[2].weight)
    assert not namespace["edge_importance"](blind.eval(), data, encode).gt(1e-5).any()
