import json
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_ghn.errors import ConfigError, DecodeError, GraphError
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3

GOLDEN = [
    "convnext_tiny",
    "densenet121",
    "googlenet",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "squeezenet1_1",
    "swin_t",
    "vit_b_32",
]
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


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_predictions(ghn, golden_graph, name):
    data, expected = golden_graph(name)
    with torch.no_grad():
        (params,) = ghn(data)
    assert set(params) == {n for n, value in expected.items() if not value.get("unpredicted")}
    for param_name, param in params.items():
        check(param, expected[param_name])


def test_batch_equals_single_graphs(ghn, golden_graph):
    graphs = [golden_graph(name)[0] for name in ("squeezenet1_1", "resnet18", "mobilenet_v3_small")]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    with torch.no_grad():
        for params, graph in zip(ghn(batch), graphs, strict=True):
            equal(params, ghn(graph)[0])


def test_graphs_of_one_node(ghn, make_graph):
    batch = Batch.from_data_list([make_graph(), make_graph(*SMALL, *HEAD), make_graph()])
    first, params, last = ghn(batch)
    assert first == last == {}
    equal(params, ghn(make_graph(*SMALL, *HEAD))[0])


def test_prediction_is_independent_of_the_order_of_nodes(ghn):
    """Two branches of the same network, recorded in either order."""
    nodes = [(9, None, None), (4, "a.weight", (8, 3, 3, 3)), (11, "n.weight", (8,))]
    nodes += [(4, "b.weight", (8, 3, 1, 1)), (7, None, None)]
    nodes += [(4, "h.weight", (10, 8)), (10, "h.bias", (10,))]
    edges = torch.tensor([[0, 1], [1, 2], [0, 3], [2, 4], [3, 4], [4, 5], [5, 6]])

    def predict(order):
        place = torch.tensor(order).argsort()
        data = Data(
            x=torch.tensor([[nodes[i][0]] for i in order]),
            edge_index=place[edges].t(),
            param_name=[nodes[i][1] for i in order],
            param_shape=[nodes[i][2] for i in order],
        )
        return ghn(ghn.transform(data))[0]

    params = predict([0, 1, 2, 3, 4, 5, 6])
    for order in ([0, 3, 1, 2, 4, 5, 6], [0, 1, 3, 2, 4, 5, 6]):
        other = predict(order)
        equal(params, {name: other[name] for name in params})


def test_gradients_reach_all_parameters(make_graph):
    ghn = GHN3(16, 2, 4, (8, 8, 7, 7), num_classes=10)
    batch = Batch.from_data_list([make_graph(*SMALL, *HEAD), make_graph(*SMALL)])
    loss = sum(p.pow(2).sum() for params in ghn(batch) for p in params.values())
    loss.backward()
    assert [name for name, p in ghn.named_parameters() if not p.grad.any()] == []


def test_training_lowers_the_loss(make_graph):
    ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10)
    data = make_graph(*SMALL, *HEAD)
    optimizer = torch.optim.Adam(ghn.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        params = ghn(data)[0]
        loss = (params["h.bias"] - 0.1).pow(2).sum() + (params["h.weight"] - 0.2).pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_network_for_other_classes_has_an_ordinary_last_layer(ghn, make_graph):
    head = ("conv", "h.weight", (36, 24)), ("bias", "h.bias", (36,))
    params = ghn(make_graph(*SMALL, *head))[0]
    weight, bias = params["h.weight"], params["h.bias"]
    assert torch.equal(weight[16:32], weight[:16]) and torch.equal(weight[32:], weight[:4])
    assert torch.equal(bias[16:32], bias[:16])


def test_names_of_biases_are_optional(ghn, make_graph):
    data = make_graph(*SMALL, *HEAD)
    del data.bias_name
    assert "n.bias" not in ghn(data)[0] and "n.weight" in ghn(data)[0]


def test_autocast(make_graph):
    ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10)
    data = make_graph(*SMALL, *HEAD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        params = ghn(data)[0]
    for name, param in ghn(data)[0].items():
        if name != "p":
            assert torch.allclose(params[name].float(), param, atol=0.05), name
    sum(p.float().pow(2).sum() for p in params.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ghn.parameters())


def test_shape_that_cannot_be_decoded(ghn, make_graph):
    graph = make_graph(("conv", "video.weight", None))
    graph.param_shape[1] = (8, 3, 3, 3, 3)
    with pytest.raises(DecodeError, match=r"'video.weight' has shape \(8, 3, 3, 3, 3\)"):
        ghn(graph)


def test_graph_without_encodings(ghn, make_graph):
    data = make_graph(*SMALL)
    del data.spd
    with pytest.raises(GraphError, match=r"lacks spd.*transform"):
        ghn(data)
    with pytest.raises(GraphError, match=r"lacks param_name, param_shape.*from_module"):
        ghn(Data(x=torch.tensor([[9]])))


@pytest.mark.parametrize(
    "name, num_parameters",
    [("t", 6_906_632), ("s", 35_810_368), ("l", 214_668_960), ("xl", 654_365_184)],
)
def test_sizes_of_the_paper(name, num_parameters):
    with torch.device("meta"):
        ghn = GHN3.from_config(f"ghn3-{name}")
    assert sum(p.numel() for p in ghn.parameters()) == num_parameters
    assert ghn.path_bias.heads == (8 if name == "t" else 16)


def test_unknown_size():
    with pytest.raises(ConfigError, match=r"'ghn3-m', choose one of \['ghn3-t'"):
        GHN3.from_config("ghn3-m")


def test_config_makes_the_same_ghn(ghn):
    config = json.loads(json.dumps(ghn.config))
    other = GHN3(**config)
    other.load_state_dict(ghn.state_dict())
    assert other.config == ghn.config
    assert GHN3(16, 1, 4, (8, 8, 7, 7), 10, layer_norm=False).config["layer_norm"] is False


def test_reset_and_repr():
    ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10)
    names = [name for name, p in ghn.named_parameters() if p.unique().numel() > 1]
    before = {name: p.clone() for name, p in ghn.named_parameters()}
    ghn.reset_parameters()
    assert [n for n, p in ghn.named_parameters() if not torch.equal(p, before[n])] == names
    assert str(ghn).startswith("GHN3(hidden_channels=16, num_layers=1, heads=4, max_shape=")


class TestPredict:
    def test_golden_network(self, ghn, golden):
        expected = golden("predictions/pred_ghn3_tiny/resnet18")["params"]
        model = torchvision.models.resnet18(num_classes=10).eval()
        params = ghn.predict(model)
        assert set(params) == set(expected)
        for name, param in params.items():
            check(param, expected[name])

    def test_model_on_the_meta_device_without_gradients(self, ghn):
        with torch.device("meta"):
            model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
        params = ghn.predict(model, input_size=(1, 8, 8))
        assert {n: p.shape for n, p in params.items()} == {
            n: p.shape for n, p in model.named_parameters()
        }
        assert not any(p.requires_grad or p.is_meta for p in params.values())

    def test_unpredicted_names_are_absent(self, ghn):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 8, 3)
                self.scale = nn.Parameter(torch.ones(8, 1, 1))

            def forward(self, x):
                return self.conv(x) * self.scale

        assert set(ghn.predict(Scaled(), (3, 8, 8))) == {"conv.weight", "conv.bias"}

    def test_graph_is_only_read(self, ghn):
        model = nn.Conv2d(3, 8, 3)
        data = from_module(model, (3, 8, 8))
        keys = data.keys()
        equal(ghn.predict_graph(data), ghn.predict(model, (3, 8, 8)), tolerance=0)
        assert data.keys() == keys

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    def test_on_the_device_of_the_ghn(self, make_graph):
        ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10).cuda()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            params = ghn.predict(nn.Conv2d(3, 8, 3), (3, 8, 8))
        assert all(p.is_cuda for p in params.values())
