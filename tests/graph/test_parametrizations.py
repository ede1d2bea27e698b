"""Weights that are computed from parameters, and layers that are applied to parameters."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

FACTOR = "a factor of a parametrized weight"
WEIGHT = "parametrizations.weight.original"


def parameter(*shape):
    return nn.Parameter(torch.ones(shape))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrap, weight, factors",
    [
        (parametrizations.weight_norm, f"{WEIGHT}1", [f"{WEIGHT}0"]),
        (weight_norm, "weight_v", ["weight_g"]),
        (parametrizations.spectral_norm, WEIGHT, []),
        (spectral_norm, "weight_orig", []),
        (parametrizations.orthogonal, WEIGHT, []),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "weight_orig", []),
    ],
    ids=["weight", "old_weight", "spectral", "old_spectral", "orthogonal", "pruned"],
)
@pytest.mark.parametrize("training", [True, False])
def test_normalized_weights(wrap, weight, factors, training, see):
    model = nn.Sequential(wrap(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = see(model, (8,))
    assert graph.data.param_name == [None, f"0.{weight}", "0.bias", "2.weight", "2.bias"]
    assert graph.left == {f"0.{name}": FACTOR for name in factors}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class AddLowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = parameter(2, 8), parameter(8, 2)

    def forward(self, weight):
        return weight + self.up @ self.down


def test_low_rank_adapters(see):
    def beside_a_frozen_layer(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T

    base = nn.Linear(8, 8).requires_grad_(False)
    graph = see(beside_a_frozen_layer, (8,), base=base, down=parameter(2, 8), up=parameter(8, 2))
    assert graph.labels == "input base.weight base.bias down up sum".split()
    assert {("base.bias", "sum"), ("up", "sum"), ("down", "up")} < graph.edges
    model = nn.Sequential(nn.Linear(8, 8))
    parametrize.register_parametrization(model[0], "weight", AddLowRank())
    graph = see(model, (8,))
    assert graph.data.param_name == [None, "0.parametrizations.weight.original", "0.bias"]
    assert [*graph.left.values()] == [FACTOR, FACTOR]


def test_standardized_weight_with_a_gain(see):
    def forward(self, x):
        flat = self.weight.reshape(1, 4, -1)
        weight = F.batch_norm(flat, None, None, self.gain, training=True).view_as(self.weight)
        return F.conv2d(x, weight)

    graph = see(forward, (3, 8, 8), weight=parameter(4, 3, 3, 3), gain=parameter(4))
    assert graph.labels == ["input", "weight"] and graph.left == {"gain": FACTOR}


def test_layers_on_a_learned_query(see):
    """A query that attends to the data passes through a norm and a layer of its own."""

    def forward(self, x):
        query = self.query(self.norm(self.latent)).expand(len(x), -1, -1)
        key, value = self.key_value(x).chunk(2, -1)
        return self.head(F.scaled_dot_product_attention(query, key, value).mean(1))

    parts = {"latent": parameter(1, 2, 4), "norm": nn.LayerNorm(4), "query": nn.Linear(4, 4)}
    graph = see(forward, (5, 4), key_value=nn.Linear(4, 8), head=nn.Linear(4, 3), **parts)
    assert {("input", "norm.weight"), ("norm.weight", "query.weight")} < graph.edges
    assert {("query.bias", "msa"), ("key_value.bias", "msa")} < graph.edges
    assert graph.left == {"latent": "used by no supported operation (input of layer_norm)"}


def test_concatenated_biases_are_nodes_side_by_side(see):
    def forward(self, x):
        bias = torch.cat([self.q_bias, torch.zeros(4), self.v_bias])
        return self.head(F.linear(x, self.qkv, bias))

    weights = {"qkv": parameter(12, 4), "q_bias": parameter(4), "v_bias": parameter(4)}
    graph = see(forward, (4,), head=nn.Linear(12, 2), **weights)
    assert graph.labels == "input qkv q_bias v_bias head.weight head.bias".split()
    sides = {("q_bias", "head.weight"), ("v_bias", "head.weight")}
    assert {("qkv", "v_bias"), *sides} < graph.edges


def test_weights_mixed_by_data_and_static_bias(see):
    """A kernel for each sample, as in conditional convolutions."""

    def forward(self, x):
        routing = self.routing(x.mean((2, 3))).sigmoid()
        kernels = (routing @ self.experts).view(-1, 3, 1, 1)
        return F.conv2d(x.flatten(0, 1)[None], kernels, self.bias.repeat(2), groups=2)

    weights = {"experts": parameter(2, 12), "bias": parameter(4)}
    graph = see(forward, (3, 8, 8), routing=nn.Linear(3, 2), **weights)
    assert {("routing.bias", "experts"), ("experts", "bias"), ("input", "bias")} < graph.edges
    assert graph.labels[-1] == "bias"


def test_a_shared_weight_is_named_where_the_output_depends_on_it(see):
    def forward(self, x):
        return self.layer(x).detach() + self.layer(self.other(x))

    graph = see(forward, (4,), layer=nn.Linear(4, 4), other=nn.Linear(4, 4))
    names = ["other.weight", "other.bias", "layer.weight", "layer.bias"]
    assert graph.data.param_name == [None, *names]


def test_shape_and_type_of_data_do_not_make_data_of_a_weight(see):
    def forward(self, x):
        return F.linear(x + self.position.expand_as(x), self.weight.type_as(x).detach())

    graph = see(forward, (6, 4), position=parameter(1, 6, 4), weight=parameter(2, 4))
    assert graph.labels == "input position sum weight".split()


def test_position_embedding_of_several_parts(see):
    """Interpolated, cut, expanded and concatenated, as vision transformers do."""

    def forward(self, x):
        grid = F.interpolate(self.grid, size=(2, 2), mode="bicubic").flatten(2).mT
        position = torch.cat([self.of_class, grid], 1)
        return self.head(x + position + self.longer[:, : x.shape[1]].expand(len(x), -1, -1))

    weights = {"grid": parameter(1, 4, 3, 3), "of_class": parameter(1, 1, 4)}
    graph = see(forward, (5, 4), longer=parameter(1, 9, 4), head=nn.Linear(4, 2), **weights)
    assert {"grid", "longer"} < set(graph.labels)
    assert graph.left == {"of_class": "used by no supported operation (add)"}


def test_talking_heads(see):
    """A layer that mixes the heads stands between the softmax and the values."""

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT).softmax(-1).permute(0, 2, 3, 1)
        attention = self.mix(attention).permute(0, 3, 1, 2)
        return self.out((attention @ v).transpose(1, 2).flatten(2))

    layers = {"qkv": nn.Linear(8, 24), "mix": nn.Linear(2, 2), "out": nn.Linear(8, 8)}
    graph = see(forward, (5, 8), **layers)
    assert graph.labels.count("msa") == 1
    assert {("mix.bias", "msa"), ("qkv.bias", "msa"), ("msa", "out.weight")} < graph.edges


def test_attention_with_weights_that_are_no_parameters(see):
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    weight = attention.in_proj_weight.detach()
    del attention.in_proj_weight
    attention.register_buffer("in_proj_weight", weight)
    graph = see(lambda self, x: self.attention(x, x, x)[0], (5, 8), attention=attention)
    names = ["attention.in_proj_bias", None, "attention.out_proj.weight"]
    assert graph.data.param_name[1:] == [*names, "attention.out_proj.bias"]


def test_a_parameter_that_data_is_written_into_is_data(see):
    def forward(self, x):
        canvas = self.blank.expand(len(x), -1, -1).clone()
        canvas[:, 1:].copy_(x)
        return F.linear(x, self.weight).mean(1) + self.head(canvas).mean(1)

    weights = {"blank": parameter(1, 6, 4), "weight": parameter(2, 4)}
    graph = see(forward, (5, 4), head=nn.Linear(4, 2), **weights)
    assert [*graph.left] == ["blank"] and ("input", "head.weight") in graph.edges


def test_mean_of_a_single_number(see):
    assert not see(lambda self, x: self.head(x) * x.sum().mean(0), (4,), head=nn.Linear(4, 2)).left
