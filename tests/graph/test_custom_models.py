"""Models that nobody has seen before: branches, loops, shared layers, any output."""

from collections import deque
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph import from_module


def branches(self, x):
    x = left = F.relu(self.stem(x), inplace=True)
    for block in self.left:
        left = left + block(left)
    right = self.shared(self.norm(self.shared(self.right(x))))
    x = torch.cat([left * self.scale, right], dim=1).mean((2, 3))
    return {"logits": self.head(x), "features": [x]}


def test_branches_loops_shared_layers_and_dict_output(applied, nodes_of, names_of):
    model = applied(
        branches,
        scale=nn.Parameter(torch.ones(8, 1, 1)),
        stem=nn.Conv2d(3, 8, 3, padding=1),
        left=nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(3)),
        right=nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2),
        shared=nn.Conv2d(8, 8, 1, bias=False),
        norm=nn.BatchNorm2d(8),
        head=nn.Linear(16, 5),
        never_used=nn.Linear(4, 4),
    )
    data = from_module(model, (3, 16, 16))
    labels, edges = names_of(data)
    assert data.unsupported == ["scale", "never_used.weight", "never_used.bias"]
    assert labels.count("shared.weight") == 1  # predicted once ...
    shared = [node for node in nodes_of(data) if node[2] == (8, 8, 1, 1)]
    assert [name for _, name, _ in shared] == ["shared.weight", None]  # ... but two steps
    assert [op for op, _, _ in nodes_of(data)].count("sum") == 3
    assert {op for op, name, _ in nodes_of(data) if name == "right.weight"} == {"dil_conv"}
    assert {op for op, name, _ in nodes_of(data) if name == "left.0.weight"} == {"sep_conv"}
    assert ("stem.bias", "left.0.weight") in edges and ("stem.bias", "right.weight") in edges
    assert ("glob_avg", "head.weight") in edges and labels[-2:] == ["head.weight", "head.bias"]
    assert data.bias_name[labels.index("norm.weight")] == "norm.bias"


def test_tied_weights_count_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    data = from_module(model, (4,))
    assert data.param_name == [None, "0.weight", None] and data.unsupported == []


class Slotted:
    __slots__ = ("__y",)

    def __init__(self, y):
        self.__y = y


class Derived(Slotted):
    __slots__ = ()


OUTPUTS = {
    "deque": lambda y: deque([y]),
    "frozenset": lambda y: frozenset([y]),
    "generator": lambda y: (part for part in [y]),
    "mapping": lambda y: MappingProxyType({"y": [y]}),
    "slots": Derived,
    "values": lambda y: {"y": y}.values(),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_in_objects(output, applied):
    model = applied(lambda self, x: output(self.linear(x)), linear=nn.Linear(4, 2))
    assert from_module(model, (4,)).num_nodes == 3


def test_a_model_that_asks_for_gradients(applied):
    def forward(self, x):
        x = self.linear(x)
        assert x.requires_grad
        return x

    assert from_module(applied(forward, linear=nn.Linear(4, 2)), (4,)).num_nodes == 3


def test_a_nested_tensor_as_input(applied):
    model = applied(lambda self, x: self.linear(x.to_padded_tensor(0.0)), linear=nn.Linear(4, 2))
    nested = torch.nested.as_nested_tensor([torch.ones(4), torch.ones(4)])
    assert from_module(model, example_inputs=nested).num_nodes == 3


def test_dataclass_output_and_several_inputs(applied, names_of):
    @dataclass
    class Output:
        logits: torch.Tensor

    model = applied(
        lambda self, x, extra: Output(self.a(x) + self.b(extra)),
        a=nn.Linear(3, 4),
        b=nn.Linear(5, 4),
    )
    inputs = {"x": torch.ones(2, 3), "extra": torch.ones(2, 5)}
    labels, edges = names_of(from_module(model, example_inputs=inputs))
    assert labels == ["input", "a.weight", "a.bias", "b.weight", "b.bias", "sum"]
    assert ("input", "b.weight") in edges and ("a.bias", "sum") in edges


def attention(self, x):
    """Explicit softmax attention with weights used as plain matrices and a position embedding."""
    x = torch.cat([self.cls.expand(len(x), -1, -1), x[:, 1:]], 1) + self.position
    q, k, v = (x @ self.qkv + self.qkv_bias).chunk(3, dim=-1)
    scores = q @ k.transpose(1, 2) + self.relative[self.index]
    return x + self.out(F.dropout(scores.softmax(-1), 0.1) @ v)


def test_attention_and_position_embedding(applied, names_of):
    model = applied(
        attention,
        qkv=nn.Parameter(torch.zeros(8, 24)),
        qkv_bias=nn.Parameter(torch.zeros(24)),
        position=nn.Parameter(torch.zeros(1, 6, 8)),
        cls=nn.Parameter(torch.zeros(1, 1, 8)),
        relative=nn.Parameter(torch.zeros(11)),
        index=torch.arange(6)[:, None] - torch.arange(6) + 5,
        out=nn.Linear(8, 8),
    )
    data = from_module(model, (6, 8))
    labels, edges = names_of(data)
    assert labels == "input position sum qkv qkv_bias msa out.weight out.bias sum".split()
    assert ("position", "sum") in edges and ("qkv_bias", "msa") in edges
    assert data.unsupported == ["cls", "relative"]


@pytest.mark.parametrize("bias", [True, False])
def test_multi_head_attention(applied, bias, names_of):
    def forward(self, x):
        x = self.same(x, x, x, need_weights=False)[0]
        return self.cross(x, x[..., :4], x[..., :4])[0]

    options = {"batch_first": True, "bias": bias}
    model = applied(
        forward,
        same=nn.MultiheadAttention(8, 2, **options),
        cross=nn.MultiheadAttention(8, 2, kdim=4, vdim=4, **options),
    )
    data = from_module(model.eval(), (5, 8))
    assert names_of(data)[0].count("msa") == 2 and data.unsupported == []
    assert {name for name in data.param_name if name} == {n for n, _ in model.named_parameters()}


def test_squeeze_and_excitation(applied, names_of):
    def forward(self, x):
        x = self.conv(x)
        gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        x = x * gate.view(-1, 8, 1, 1).expand_as(x)
        return F.adaptive_avg_pool2d(x * torch.sigmoid(x), 1)

    model = applied(forward, conv=nn.Conv2d(3, 8, 1), down=nn.Linear(8, 2), up=nn.Linear(2, 8))
    labels, edges = names_of(from_module(model, (3, 8, 8)))
    assert labels.count("cse") == 1 and labels.count("glob_avg") == 1  # the squeeze has no node
    assert ("conv.bias", "cse") in edges and ("up.bias", "cse") in edges
    assert ("conv.bias", "down.weight") in edges and ("cse", "glob_avg") in edges


def test_in_place_results_carry_the_new_sources(applied, names_of):
    def forward(self, x):
        y = self.a(x)
        y += self.b(x)
        z = torch.zeros_like(y)
        z[:, :2] = y[:, :2]
        return self.c(z)

    model = applied(forward, **{name: nn.Linear(4, 4, bias=False) for name in "abc"})
    labels, edges = names_of(from_module(model, (4,)))
    assert ("sum", "c.weight") in edges and "zeros_like" not in labels


def test_what_cannot_reach_the_output_has_no_node(applied):
    def forward(self, x):
        self.dead(x)
        return self.used(x) + self.dead(x).detach()

    data = from_module(applied(forward, used=nn.Linear(4, 4), dead=nn.Linear(4, 4)), (4,))
    assert data.param_name == [None, "used.weight", "used.bias"]
    assert data.unsupported == ["dead.weight", "dead.bias"]


def test_recurrent_weights_are_listed(applied):
    model = applied(
        lambda self, x: self.head(self.rnn(x)[0][:, -1]),
        rnn=nn.LSTM(4, 6, num_layers=2, batch_first=True, bidirectional=True),
        head=nn.Linear(12, 3),
    )
    data = from_module(model, (7, 4))
    assert data.param_name == [None, "head.weight", "head.bias"]
    assert len(data.unsupported) == 16


def test_embedding_lookup_of_a_part_of_the_table(applied, names_of):
    model = applied(
        lambda self, x: self.head(x + self.positions(torch.arange(x.shape[1]))),
        positions=nn.Embedding(16, 4),
        head=nn.Linear(4, 2),
    )
    _, edges = names_of(from_module(model, (10, 4)))
    assert ("positions.weight", "sum") in edges and ("input", "sum") in edges
    assert not any(after == "positions.weight" for _, after in edges)


def test_layer_on_a_buffer_hangs_on_the_input(applied, names_of):
    model = applied(
        lambda self, x: x * self.mlp(self.grid).sum(), mlp=nn.Linear(2, 3), head=nn.Linear(4, 2)
    )
    model.register_buffer("grid", torch.ones(5, 2))
    _, edges = names_of(from_module(model, (4,)))
    assert edges == {("input", "mlp.weight"), ("mlp.weight", "mlp.bias")}


def test_parameter_changed_through_a_view_keeps_its_name(applied):
    def forward(self, x):
        bias = self.bias.clone()
        bias[1:3].zero_()
        return F.linear(x, self.weight, bias)

    model = applied(
        forward, weight=nn.Parameter(torch.ones(4, 4)), bias=nn.Parameter(torch.ones(4))
    )
    assert from_module(model, (4,)).param_name == [None, "weight", "bias"]


def test_pooling_with_indices_and_mean_by_axis(applied, nodes_of):
    model = applied(
        lambda self, x: self.pool(self.conv(x))[0].mean(axis=(2, 3)),
        conv=nn.Conv2d(3, 4, 3),
        pool=nn.MaxPool2d(2, return_indices=True),
    )
    ops = [op for op, _, _ in nodes_of(from_module(model, (3, 8, 8)))]
    assert ops == ["input", "conv", "bias", "max_pool", "glob_avg"]


def test_bias_of_channels_is_no_position_embedding(applied, nodes_of):
    model = applied(
        lambda self, x: self.conv(x).mean((2, 3), keepdim=True) + self.bias,
        conv=nn.Conv2d(3, 4, 3, bias=False),
        bias=nn.Parameter(torch.ones(4, 1, 1)),
    )
    data = from_module(model, (3, 8, 8))
    assert [op for op, _, _ in nodes_of(data)] == ["input", "conv", "glob_avg"]
    assert data.unsupported == ["bias"]


def test_kernels_of_three_dimensions_are_listed():
    data = from_module(nn.Conv3d(3, 4, 3), (3, 5, 5, 5))
    assert data.param_name == [None, None, "bias"] and data.unsupported == ["weight"]


@pytest.mark.parametrize("size", [(3, 32), (4, 32, 32), (3, 4, 4)])
def test_wrong_input_size_names_the_module(size):
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten(), nn.Linear(8 * 28 * 28, 10))
    with pytest.raises(GraphError, match=r"in module '[02]' .*input_size"):
        from_module(model, size)


def test_errors():
    class Constant(nn.Linear):
        def forward(self, x):
            return self.weight

    with pytest.raises(GraphError, match="does not depend on its input"):
        from_module(Constant(2, 2), (2,))
    with pytest.raises(GraphError, match="not both"):
        from_module(nn.Linear(2, 2), (2,), example_inputs=torch.ones(1, 2))
    with pytest.raises(GraphError, match="positive integers"):
        from_module(nn.Linear(2, 2), (0, 2))
    with pytest.raises(GraphError, match="lazy"):
        from_module(nn.LazyLinear(2), (2,))
