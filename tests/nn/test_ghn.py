import json
import warnings
from copy import deepcopy
from functools import partial
from itertools import product

import pytest
import torch
import torchvision
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN2, GHN3, GHNMLP

GOLDEN = (
    "convnext_tiny densenet121 googlenet mobilenet_v3_small regnet_y_400mf resnet18 squeezenet1_1"
    " swin_t vit_b_32"
).split()
BEYOND_THE_CUTOFF = "mobilenet_v2 efficientnet_b0 swin_b convnext_base".split()
TINY = ["ghn3_tiny", "ghn2_tiny"]
NO_ENCODINGS = {"centrality": False, "input_distance": False}
ABLATIONS = {
    "ghn3": {"num_layers": 2},
    "ghn3 forward": {"num_layers": 2, "edge_bias": "forward", "centrality": False},
    "ghn3 without edges": {"num_layers": 2, "edge_bias": "none", "input_distance": False},
    "ghn3 of sets": {"num_layers": 1, "edge_bias": "none", **NO_ENCODINGS},
    "ghn3 of single nodes": {"edge_bias": "none", "num_layers": 0},
}
SMALLEST = {"max_shape": (8, 8, 7, 7), "num_classes": 10}
SMALL_GHNS = {
    **{name: partial(GHN3, 16, heads=4, **SMALLEST, **more) for name, more in ABLATIONS.items()},
    "ghn2": partial(GHN2, 16, **SMALLEST),
    "ghn2 without virtual edges": partial(GHN2, 16, virtual_edges=False, **SMALLEST),
    "mlp": partial(GHNMLP, 16, **SMALLEST),
}
all_ghns = pytest.mark.parametrize("make", SMALL_GHNS.values(), ids=SMALL_GHNS)
HEAD = (("conv", "h.weight", (10, 24)), ("bias", "h.bias", (10,)))
SMALL = (
    ("conv", "a.weight", (24, 3, 3, 3)),
    ("bn", "n.weight", (24,), "n.bias"),
    ("sep_conv", "c.weight", (24, 1, 5, 5)),
    ("pos_enc", "p", (1, 10, 24)),
    ("max_pool", None, (1, 1, 3, 3)),
    ("msa", None, None),
)


def check(param, expected):
    """The statistics of the golden values, made in float64 of float32 parameters."""
    assert list(param.shape) == expected["shape"]
    if "random_rows" in expected:
        param = param.narrow(expected["random_dim"], 1, param.size(expected["random_dim"]) - 1)
        assert expected["random_rows"] == [0]
    values = param.detach().double().flatten()
    std = values.std(correction=0).item()
    assert values.mean().item() == pytest.approx(expected["mean"], rel=1e-4, abs=1e-4 * std)
    assert std == pytest.approx(expected["std"], rel=1e-4)
    assert values.norm().item() == pytest.approx(expected["norm"], rel=1e-4)
    assert values[expected["pos"]].tolist() == pytest.approx(expected["vals"], rel=1e-5, abs=1e-5)


def equal(params, others, tolerance=1e-6):
    assert list(params) == list(others)
    for name, param in params.items():
        other = others[name]
        if name == "p":  # the class token is random
            param, other = param[:, 1:], other[:, 1:]
        assert torch.allclose(param, other, atol=tolerance), name


def skeleton(name):
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # it reads its values
        return torchvision.models.get_model(name, num_classes=10).eval()


@pytest.mark.filterwarnings("ignore:The default weight init.*GoogleNet:FutureWarning")
@pytest.mark.parametrize(
    "tag, name", [*product(TINY, GOLDEN), *product(["ghn3_tiny"], BEYOND_THE_CUTOFF)]
)
def test_golden_predictions(tiny, golden, tag, name, device):
    expected = golden(f"predictions/pred_{tag}/{name}")["params"]
    params = deepcopy(tiny[tag]).to(device).predict(skeleton(name))
    assert {param.device.type for param in params.values()} == {device.type}
    assert set(params) == {n for n, value in expected.items() if not value.get("unpredicted")}
    for param_name, param in params.items():
        check(param, expected[param_name])
    if name in BEYOND_THE_CUTOFF:
        data = tiny[tag].transform(from_module(skeleton(name)))
        assert (data.input_distance > 0).sum() < data.num_nodes - 1


@pytest.mark.parametrize("tag", TINY)
def test_batch_equals_single_graphs(tiny, tag, device):
    names = "squeezenet1_1", "resnet18", "mobilenet_v3_small"
    ghn = deepcopy(tiny[tag]).to(device)
    graphs = [ghn.transform(from_module(skeleton(name))) for name in names]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    with torch.no_grad():
        for params, graph in zip(ghn(batch), graphs, strict=True):
            equal(params, ghn(graph)[0])


@all_ghns
def test_graphs_of_one_node(make, make_graph):
    ghn = make()
    batch = Batch.from_data_list([make_graph(), make_graph(*SMALL, *HEAD), make_graph()])
    first, params, last = ghn(batch)
    assert first == last == {}
    equal(params, ghn(make_graph(*SMALL, *HEAD))[0])


@pytest.mark.parametrize("order", [[0, 3, 1, 2, 4, 5, 6], [0, 1, 3, 2, 4, 5, 6]])
@pytest.mark.parametrize("tag", TINY)
def test_prediction_is_independent_of_the_order_of_nodes(tiny, tag, order):
    """Two branches of the same network, recorded in either order."""
    nodes = [(9, None, None), (4, "a.weight", (8, 3, 3, 3)), (11, "n.weight", (8,))]
    nodes += [(4, "b.weight", (8, 3, 1, 1)), (7, None, None)]
    nodes += [(4, "h.weight", (10, 8)), (10, "h.bias", (10,))]
    edges = torch.tensor([[0, 1], [1, 2], [0, 3], [2, 4], [3, 4], [4, 5], [5, 6]])

    def predict(order):
        ops, names, shapes = zip(*(nodes[i] for i in order), strict=True)
        edge_index = torch.tensor(order).argsort()[edges].t()
        data = Data(x=torch.tensor(ops)[:, None], edge_index=edge_index)
        data.param_name, data.param_shape = [*names], [*shapes]
        return tiny[tag](tiny[tag].transform(data))[0]

    params, other = predict([*range(7)]), predict(order)
    equal(params, {name: other[name] for name in params})


@all_ghns
@pytest.mark.parametrize("whole_batch", [False, True], ids=["graphs on the CPU", "all there"])
def test_gradients_reach_all_parameters(make, make_graph, device, whole_batch):
    ghn = make().to(device)
    batch = Batch.from_data_list([make_graph(*SMALL, *HEAD), make_graph(*SMALL)])
    batch = batch.to(device) if whole_batch else batch
    loss = sum(p.pow(2).sum() for params in ghn(batch) for p in params.values())
    loss.backward()
    assert [name for name, p in ghn.named_parameters() if not p.grad.any()] == []


@all_ghns
def test_graphs_on_the_cpu_make_nobody_wait(make, make_graph):
    """On the meta device there are no values: whatever asks for one fails."""
    ghn = make().to("meta")
    predictions = ghn(Batch.from_data_list([make_graph(*SMALL, *HEAD), make_graph(*SMALL)]))
    params = [p for some in predictions for p in some.values()]
    assert all(p.is_meta for p in params)
    sum(p.sum() for p in params).backward()
    assert all(p.grad.is_meta for p in ghn.decoder.kernel.parameters())


def test_cutoff(tiny, make_graph):
    """Without virtual edges, only direct successors are told apart from unconnected nodes."""
    ghn, data = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10, cutoff=1), make_graph(*SMALL, *HEAD)
    direct = ghn.transform(data.clone())
    assert direct.spd.max() == 1 and data.spd.max() > 1
    assert direct.input_distance.tolist() == [0, 1] + [0] * (data.num_nodes - 2)
    data.input_distance = direct.input_distance
    equal(ghn(direct)[0], ghn(data)[0])
    other = GHN3(**{**ghn.config, "cutoff": 50})
    other.load_state_dict(ghn.state_dict())
    assert not torch.allclose(other(data)[0]["h.weight"], ghn(data)[0]["h.weight"])


def test_single_nodes_without_layers(make_graph):
    ghn, data = SMALL_GHNS["mlp"](), make_graph(*SMALL, *HEAD)
    without_edges = data.clone()
    without_edges.edge_index = data.edge_index[:, :0]
    equal(ghn(without_edges)[0], ghn(data)[0])
    h = ghn.op_embedding(data.x[1]) + ghn.shape_encoding([(24, 3, 3, 3)])
    h = ghn.norm(ghn.mlp[2](ghn.mlp[0](h).relu()).relu())
    assert torch.allclose(ghn.embed(data, data.param_shape)[1], h[0], atol=1e-6)
    ghn, data = SMALL_GHNS["ghn3 of single nodes"](), make_graph(*SMALL, *HEAD)
    h = ghn.op_embedding(data.x.view(-1)) + ghn.shape_encoding(data.param_shape)
    h = h + ghn.centrality_encoding(data.in_degree, data.out_degree, data.input_distance)
    h = ghn.norm(ghn.node_mlp[2](ghn.node_mlp[0](h).relu()).relu())
    assert torch.allclose(ghn.embed(data, data.param_shape), h, atol=1e-6)


def test_what_an_ablation_reads(make_graph):
    """Each GHN-3 needs the encodings that it was not made without, and these only."""
    graph = make_graph(*SMALL, *HEAD)
    for name in ABLATIONS:
        ghn, data = SMALL_GHNS[name](), graph.clone()
        for key in ("in_degree", "out_degree", "input_distance", "spd"):
            del data[key]
        equal(ghn(ghn.transform(data))[0], ghn(graph)[0])
        other = graph.clone()
        other.in_degree, other.out_degree = graph.in_degree + 1, graph.out_degree + 2
        assert changes(ghn, other, graph) == ghn.centrality
        other = graph.clone()
        other.input_distance = graph.input_distance + 1
        assert changes(ghn, other, graph) == ghn.input_distance
        other = graph.clone()
        other.spd = graph.spd.view(graph.num_nodes, -1).t().flatten()
        assert changes(ghn, other, graph) == (ghn.edge_bias != "none")


def changes(ghn, data, other):
    with torch.no_grad():
        return not torch.allclose(ghn(data)[0]["h.weight"], ghn(other)[0]["h.weight"], atol=1e-7)


def test_options_that_make_no_sense():
    with pytest.raises(ConfigError, match="must be both, forward or none, got 'backward'"):
        GHN3(edge_bias="backward")
    with pytest.raises(ConfigError, match="`num_layers=0`, set `edge_bias` to none, not both"):
        GHN3(num_layers=0)
    with pytest.raises(ConfigError, match=r"'ghn3-t', choose one of \['ghn2', 'ghn2-128'\]"):
        GHN2.from_config("ghn3-t")
    with pytest.raises(ConfigError, match=r"'ghn3-m', choose one of \['ghn3-t'"):
        GHN3.from_config("ghn3-m")


def test_names_of_biases_are_optional(ghn, make_graph):
    data = make_graph(*SMALL, *HEAD)
    del data.bias_name
    assert "n.bias" not in ghn(data)[0] and "n.weight" in ghn(data)[0]


@all_ghns
def test_autocast(make, make_graph):
    ghn = make()
    data = make_graph(*SMALL, *HEAD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        params = ghn(data)[0]
    for name, param in ghn(data)[0].items():
        if name != "p":
            assert torch.allclose(params[name].float(), param, atol=0.05), name
    sum(p.float().pow(2).sum() for p in params.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ghn.parameters())


@pytest.mark.parametrize(
    "tag, name", [("ghn3_tiny", "spd"), ("ghn2_tiny", "spd"), ("ghn2_tiny", "level")]
)
def test_graph_without_encodings(tiny, make_graph, tag, name):
    ghn, data = tiny[tag], make_graph(*SMALL)
    del data[name]
    with pytest.raises(GraphError, match=rf"lacks {name}.*transform"):
        ghn(data)
    with pytest.raises(GraphError, match=r"got Linear: `ghn\.predict\(model\)` takes a model"):
        ghn(torch.nn.Linear(2, 2))
    with pytest.raises(GraphError, match=r"lacks param_name, param_shape.*from_module"):
        ghn(Data(x=torch.tensor([[9]])))


@pytest.mark.parametrize(
    "name, num_parameters",
    [
        ("ghn3-t", 6_906_632),
        ("ghn3-s", 35_810_368),
        ("ghn3-l", 214_668_960),
        ("ghn3-xl", 654_365_184),
        ("ghn2", 2_319_720),
        ("ghn2-128", 34_731_312),
    ],
)
def test_sizes_of_the_papers(name, num_parameters):
    with torch.device("meta"):
        ghn = (GHN3 if name in GHN3.CONFIGS else GHN2).from_config(name)
    assert sum(p.numel() for p in ghn.parameters()) == num_parameters
    if name in GHN3.CONFIGS:
        assert ghn.path_bias.heads == (8 if name == "ghn3-t" else 16)


@pytest.mark.parametrize(
    "options, millions",
    [
        ({"edge_bias": "forward"}, 6.90),  # Table 5
        ({"edge_bias": "none"}, 6.88),
        ({"edge_bias": "none", "num_layers": 0}, 6.74),
        ({"centrality": False}, 6.89),  # Table 11
        ({"input_distance": False}, 6.84),
        ({"edge_bias": "none", **NO_ENCODINGS}, 6.80),
        ({"max_shape": (256, 256, 16, 16)}, 38.86),
    ],
)
def test_sizes_of_the_ablations(options, millions):
    """What is left out leaves no parameters behind."""
    with torch.device("meta"):
        ghn = GHN3(**GHN3.CONFIGS["ghn3-t"] | options)
    assert round(sum(p.numel() for p in ghn.parameters()) / 1e6, 2) == millions


@all_ghns
@pytest.mark.parametrize("norm", [True, False])
def test_config_makes_the_same_ghn(make, norm):
    ghn = make(layer_norm=norm, weight_norm=norm)
    other = type(ghn)(**json.loads(json.dumps(ghn.config)))
    other.load_state_dict(ghn.state_dict())
    assert other.config == ghn.config
    assert ghn.config["layer_norm"] is ghn.config["weight_norm"] is norm


@all_ghns
def test_reset_and_repr(make):
    ghn = make()
    names = [name for name, p in ghn.named_parameters() if p.unique().numel() > 1]
    before = {name: p.clone() for name, p in ghn.named_parameters()}
    ghn.reset_parameters()
    assert [n for n, p in ghn.named_parameters() if not torch.equal(p, before[n])] == names
    name = type(ghn).__name__
    assert str(ghn).startswith(f"{name}(hidden_channels=16, max_shape=[8, 8, 7, 7], num_classes=10")


def test_predict_only_reads_the_graph_and_any_device_of_the_model(ghn):
    model = nn.Conv2d(3, 8, 3)
    data = from_module(model, (3, 8, 8))
    keys = data.keys()
    equal(ghn.predict_graph(data), ghn.predict(model, (3, 8, 8)), tolerance=0)
    assert data.keys() == keys
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
    params = ghn.predict(model, input_size=(1, 8, 8))
    assert {n: p.shape for n, p in params.items()} == {
        n: p.shape for n, p in model.named_parameters()
    }
    assert not any(p.requires_grad or p.is_meta for p in params.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@all_ghns
def test_predict_on_the_device_of_the_ghn(make):
    ghn = make().cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = ghn.predict(nn.Conv2d(3, 8, 3), (3, 8, 8))
    assert all(p.is_cuda for p in params.values())
