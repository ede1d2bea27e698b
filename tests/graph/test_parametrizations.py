"""Weights that are computed from parameters, and layers that are applied to parameters."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

FACTOR = "a factor of a parametrized weight"


def parameter(*shape):
    return nn.Parameter(torch.ones(shape))


WEIGHT = "parametrizations.weight.original"


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
def test_normalized_weights(wrap, weight, factors, training, complete, left):
    model = nn.Sequential(wrap(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = complete(model, input_size=(8,))
    assert data.param_name == [None, f"0.{weight}", "0.bias", "2.weight", "2.bias"]
    assert data.unsupported == [f"0.{name}" for name in factors]
    assert set(left(data)) <= {FACTOR}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = parameter(2, 8), parameter(8, 2)


class Adapted(LowRank):
    """A layer beside a frozen one."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


class AddLowRank(LowRank):
    def forward(self, weight):
        return weight + self.up @ self.down


def test_low_rank_adapters(complete, names_of):
    labels, edges = names_of(complete(Adapted(), input_size=(8,)))
    assert labels == "input base.weight base.bias down up sum".split()
    assert {("base.bias", "sum"), ("up", "sum"), ("down", "up")} < edges
    model = nn.Sequential(nn.Linear(8, 8))
    parametrize.register_parametrization(model[0], "weight", AddLowRank())
    data = complete(model, input_size=(8,))
    assert data.param_name == [None, "0.parametrizations.weight.original", "0.bias"]
    assert data.unsupported_reason == [FACTOR, FACTOR]


def test_standardized_weight_with_a_gain(applied, complete):
    def forward(self, x):
        flat = self.weight.reshape(1, 4, -1)
        weight = F.batch_norm(flat, None, None, self.gain, training=True).view_as(self.weight)
        return F.conv2d(x, weight)

    model = applied(forward, weight=parameter(4, 3, 3, 3), gain=parameter(4))
    data = complete(model, input_size=(3, 8, 8))
    assert data.param_name == [None, "weight"]
    assert (data.unsupported, data.unsupported_reason) == (["gain"], [FACTOR])


def test_layers_on_a_learned_query(applied, complete, names_of):
    """A query that attends to the data passes through a norm and a layer of its own."""

    def forward(self, x):
        query = self.query(self.norm(self.latent)).expand(len(x), -1, -1)
        key, value = self.key_value(x).chunk(2, -1)
        return self.head(F.scaled_dot_product_attention(query, key, value).mean(1))

    model = applied(
        forward,
        latent=parameter(1, 2, 4),
        norm=nn.LayerNorm(4),
        query=nn.Linear(4, 4),
        key_value=nn.Linear(4, 8),
        head=nn.Linear(4, 3),
    )
    data = complete(model, input_size=(5, 4))
    _, edges = names_of(data)
    assert {("input", "norm.weight"), ("norm.weight", "query.weight")} < edges
    assert {("query.bias", "msa"), ("key_value.bias", "msa")} < edges
    assert data.unsupported == ["latent"]
    assert data.unsupported_reason == ["used by no supported operation (input of layer_norm)"]


def test_concatenated_biases_are_nodes_side_by_side(applied, complete, names_of):
    def forward(self, x):
        bias = torch.cat([self.q_bias, torch.zeros(4), self.v_bias])
        return self.head(F.linear(x, self.qkv, bias))

    model = applied(
        forward,
        qkv=parameter(12, 4),
        q_bias=parameter(4),
        v_bias=parameter(4),
        head=nn.Linear(12, 2),
    )
    labels, edges = names_of(complete(model, input_size=(4,)))
    assert labels == "input qkv q_bias v_bias head.weight head.bias".split()
    assert {("qkv", "v_bias"), ("q_bias", "head.weight"), ("v_bias", "head.weight")} < edges


def test_weights_mixed_by_data_and_static_bias(applied, complete, names_of):
    """A kernel for each sample, as in conditional convolutions."""

    def forward(self, x):
        routing = self.routing(x.mean((2, 3))).sigmoid()
        kernels = (routing @ self.experts).view(-1, 3, 1, 1)
        return F.conv2d(x.flatten(0, 1)[None], kernels, self.bias.repeat(2), groups=2)

    model = applied(forward, routing=nn.Linear(3, 2), experts=parameter(2, 12), bias=parameter(4))
    labels, edges = names_of(complete(model, input_size=(3, 8, 8)))
    assert {("routing.bias", "experts"), ("experts", "bias"), ("input", "bias")} < edges
    assert labels[-1] == "bias"


def test_a_shared_weight_is_named_where_the_output_depends_on_it(applied, complete):
    model = applied(
        lambda self, x: self.layer(x).detach() + self.layer(self.other(x)),
        layer=nn.Linear(4, 4),
        other=nn.Linear(4, 4),
    )
    data = complete(model, input_size=(4,))
    assert data.param_name == [None, "other.weight", "other.bias", "layer.weight", "layer.bias"]


def test_shape_and_type_of_data_do_not_make_data_of_a_weight(applied, complete, names_of):
    model = applied(
        lambda self, x: F.linear(x + self.position.expand_as(x), self.weight.type_as(x).detach()),
        position=parameter(1, 6, 4),
        weight=parameter(2, 4),
    )
    labels, _ = names_of(complete(model, input_size=(6, 4)))
    assert labels == "input position sum weight".split()


def test_position_embedding_of_several_parts(applied, complete, left):
    """Interpolated, cut, expanded and concatenated, as vision transformers do."""

    def forward(self, x):
        grid = F.interpolate(self.grid, size=(2, 2), mode="bicubic").flatten(2).mT
        position = torch.cat([self.of_class, grid], 1)
        return self.head(x + position + self.longer[:, : x.shape[1]].expand(len(x), -1, -1))

    model = applied(
        forward,
        grid=parameter(1, 4, 3, 3),
        of_class=parameter(1, 1, 4),
        longer=parameter(1, 9, 4),
        head=nn.Linear(4, 2),
    )
    data = complete(model, input_size=(5, 4))
    assert {"grid", "longer"} < set(data.param_name)
    assert left(data) == {"used by no supported operation (add)": {"of_class"}}


def test_talking_heads(applied, complete, names_of):
    """A layer that mixes the heads stands between the softmax and the values."""

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT).softmax(-1).permute(0, 2, 3, 1)
        attention = self.mix(attention).permute(0, 3, 1, 2)
        return self.out((attention @ v).transpose(1, 2).flatten(2))

    model = applied(forward, qkv=nn.Linear(8, 24), mix=nn.Linear(2, 2), out=nn.Linear(8, 8))
    labels, edges = names_of(complete(model, input_size=(5, 8)))
    assert labels.count("msa") == 1
    assert {("mix.bias", "msa"), ("qkv.bias", "msa"), ("msa", "out.weight")} < edges


def test_attention_with_weights_that_are_no_parameters(applied, complete):
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    weight = attention.in_proj_weight.detach()
    del attention.in_proj_weight
    attention.register_buffer("in_proj_weight", weight)
    model = applied(lambda self, x: self.attention(x, x, x)[0], attention=attention)
    data = complete(model, input_size=(5, 8))
    assert data.param_name[1:] == [
        "attention.in_proj_bias",
        None,
        "attention.out_proj.weight",
        "attention.out_proj.bias",
    ]


def test_a_parameter_that_data_is_written_into_is_data(applied, complete, names_of):
    def forward(self, x):
        canvas = self.blank.expand(len(x), -1, -1).clone()
        canvas[:, 1:].copy_(x)
        return F.linear(x, self.weight).mean(1) + self.head(canvas).mean(1)

    model = applied(forward, blank=parameter(1, 6, 4), weight=parameter(2, 4), head=nn.Linear(4, 2))
    data = complete(model, input_size=(5, 4))
    assert data.unsupported == ["blank"] and ("input", "head.weight") in names_of(data)[1]


def test_mean_of_a_single_number(applied, complete):
    model = applied(lambda self, x: self.head(x) * x.sum().mean(0), head=nn.Linear(4, 2))
    assert not complete(model, input_size=(4,)).unsupported
