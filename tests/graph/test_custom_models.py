"""Models that nobody has seen before: branches, loops, shared layers, any output."""

from collections import deque
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.graph import from_module


def parameter(*shape):
    return nn.Parameter(torch.zeros(shape))


def test_branches_loops_shared_layers_and_dict_output(see, nodes_of):
    def branches(self, x):
        x = left = F.relu(self.stem(x), inplace=True)
        for block in self.left:
            left = left + block(left)
        right = self.shared(self.norm(self.shared(self.right(x))))
        x = torch.cat([left * self.scale, right], dim=1).mean((2, 3))
        return {"logits": self.head(x), "features": [x]}

    graph = see(
        branches,
        (3, 16, 16),
        scale=parameter(8, 1, 1),
        stem=nn.Conv2d(3, 8, 3, padding=1),
        left=nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(3)),
        right=nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2),
        shared=nn.Conv2d(8, 8, 1, bias=False),
        norm=nn.BatchNorm2d(8),
        head=nn.Linear(16, 5),
        never_used=nn.Linear(4, 4),
    )
    labels, edges, nodes = graph.labels, graph.edges, nodes_of(graph.data)
    assert [*graph.left] == ["scale", "never_used.weight", "never_used.bias"]
    assert labels.count("shared.weight") == 1  # predicted once ...
    shared = [name for _, name, shape in nodes if shape == (8, 8, 1, 1)]
    assert shared == ["shared.weight", None]  # ... but two steps
    assert graph.ops.count("sum") == 3
    assert {op for op, name, _ in nodes if name == "right.weight"} == {"dil_conv"}
    assert {op for op, name, _ in nodes if name == "left.0.weight"} == {"sep_conv"}
    assert ("stem.bias", "left.0.weight") in edges and ("stem.bias", "right.weight") in edges
    assert ("glob_avg", "head.weight") in edges and labels[-2:] == ["head.weight", "head.bias"]
    assert graph.data.bias_name[labels.index("norm.weight")] == "norm.bias"


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


def test_models_that_ask_for_gradients_and_nested_tensors_as_input(applied):
    def forward(self, x):
        x = self.linear(x)
        assert x.requires_grad
        return x

    assert from_module(applied(forward, linear=nn.Linear(4, 2)), (4,)).num_nodes == 3
    model = applied(lambda self, x: self.linear(x.to_padded_tensor(0.0)), linear=nn.Linear(4, 2))
    nested = torch.nested.as_nested_tensor([torch.ones(4), torch.ones(4)])
    assert from_module(model, example_inputs=nested).num_nodes == 3


def test_dataclass_output_and_several_inputs(see):
    @dataclass
    class Output:
        logits: torch.Tensor

    def forward(self, x, extra):
        return Output(self.a(x) + self.b(extra))

    inputs = {"x": torch.ones(2, 3), "extra": torch.ones(2, 5)}
    graph = see(forward, example_inputs=inputs, a=nn.Linear(3, 4), b=nn.Linear(5, 4))
    assert graph.labels == ["input", "a.weight", "a.bias", "b.weight", "b.bias", "sum"]
    assert {("input", "b.weight"), ("a.bias", "sum")} < graph.edges


def test_attention_and_position_embedding(see):
    """Explicit softmax attention with weights used as plain matrices and a position embedding."""

    def attention(self, x):
        x = torch.cat([self.cls.expand(len(x), -1, -1), x[:, 1:]], 1) + self.position
        q, k, v = (x @ self.qkv + self.qkv_bias).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) + self.relative[self.index]
        return x + self.out(F.dropout(scores.softmax(-1), 0.1) @ v)

    weights = {"qkv": parameter(8, 24), "qkv_bias": parameter(24), "relative": parameter(11)}
    weights |= {"position": parameter(1, 6, 8), "cls": parameter(1, 1, 8), "out": nn.Linear(8, 8)}
    index = torch.arange(6)[:, None] - torch.arange(6) + 5
    graph = see(attention, (6, 8), index=index, **weights)
    assert graph.labels == "input position sum qkv qkv_bias msa out.weight out.bias sum".split()
    assert {("position", "sum"), ("qkv_bias", "msa")} < graph.edges
    assert [*graph.left] == ["relative", "cls"]


@pytest.mark.parametrize("bias", [True, False])
def test_multi_head_attention(applied, bias, names_of):
    def forward(self, x):
        x = self.same(x, x, x, need_weights=False)[0]
        return self.cross(x, x[..., :4], x[..., :4])[0]

    options = {"batch_first": True, "bias": bias}
    same, cross = ({}, {"kdim": 4, "vdim": 4})
    layers = (nn.MultiheadAttention(8, 2, **options, **more) for more in (same, cross))
    model = applied(forward, **dict(zip(("same", "cross"), layers, strict=True)))
    data = from_module(model.eval(), (5, 8))
    assert names_of(data)[0].count("msa") == 2 and data.unsupported == []
    assert {name for name in data.param_name if name} == {n for n, _ in model.named_parameters()}


def test_squeeze_and_excitation(see):
    def forward(self, x):
        x = self.conv(x)
        gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        x = x * gate.view(-1, 8, 1, 1).expand_as(x)
        return F.adaptive_avg_pool2d(x * torch.sigmoid(x), 1)

    layers = {"conv": nn.Conv2d(3, 8, 1), "down": nn.Linear(8, 2), "up": nn.Linear(2, 8)}
    graph = see(forward, (3, 8, 8), **layers)
    assert graph.labels.count("cse") == graph.labels.count("glob_avg") == 1  # none of the squeeze
    assert {("conv.bias", "cse"), ("up.bias", "cse")} < graph.edges
    assert {("conv.bias", "down.weight"), ("cse", "glob_avg")} < graph.edges


def test_in_place_results_carry_the_new_sources_and_names(see):
    def in_place(self, x):
        y = self.a(x)
        y += self.b(x)
        z = torch.zeros_like(y)
        z[:, :2] = y[:, :2]
        return self.c(z)

    graph = see(in_place, (4,), **{name: nn.Linear(4, 4, bias=False) for name in "abc"})
    assert ("sum", "c.weight") in graph.edges and "zeros_like" not in graph.labels

    def through_a_view(self, x):
        bias = self.bias.clone()
        bias[1:3].zero_()
        return F.linear(x, self.weight, bias)

    graph = see(through_a_view, (4,), weight=parameter(4, 4), bias=parameter(4))
    assert graph.labels == ["input", "weight", "bias"]


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        shapes = {"token": (1, 1, 4), "scale": (4,), "table": (9, 1), "gain": (4, 1)}
        shapes |= {"weight": (4, 4), "norm_bias": (4,), "unused": (3,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))
        self.volume = nn.Conv3d(1, 1, 1, bias=False)
        self.cut, self.cut_norm, self.head = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)
        self.register_buffer("index", torch.arange(5) - torch.arange(5)[:, None] + 4)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), x[:, 1:]], 1) * self.scale
        self.cut_norm(self.cut(x))
        attention = x @ x.mT + self.table[self.index].squeeze(-1)
        x = attention.softmax(-1) @ F.linear(x, self.weight * self.gain)
        x = F.layer_norm(x, (4,), None, self.norm_bias)
        x = self.volume(x[:, None, None])[:, 0, 0]
        return self.head(x)


REASONS = {
    "token": "used by no supported operation (cat)",
    "scale": "used by no supported operation (mul)",
    "table": "a table of which entries are looked up by index",
    "gain": "a factor of a parametrized weight",
    "norm_bias": "bias of a normalization that has no weight",
    "unused": "never used in the forward pass",
    "volume.weight": "more than four dimensions",
    **dict.fromkeys(
        ["cut.weight", "cut.bias", "cut_norm.weight", "cut_norm.bias"], "does not reach the output"
    ),
}


def test_every_reason_alone_and_batched_as_lists(complete):
    data = complete(Everything(), input_size=(5, 4))
    assert dict(zip(data.unsupported, data.unsupported_reason, strict=True)) == REASONS
    graphs = [from_module(nn.Linear(3, 2), (3,)), from_module(Everything(), (5, 4))]
    batch = Batch.from_data_list(graphs)
    assert batch.unsupported_reason == [[], list(REASONS.values())]
    assert batch[1].unsupported == list(REASONS)


def test_bias_of_channels_is_no_position_embedding(see):
    def forward(self, x):
        return self.conv(x).mean((2, 3), keepdim=True) + self.bias

    graph = see(forward, (3, 8, 8), conv=nn.Conv2d(3, 4, 3, bias=False), bias=parameter(4, 1, 1))
    assert graph.ops == ["input", "conv", "glob_avg"] and [*graph.left] == ["bias"]


def test_tied_weights_count_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    data = from_module(model, (4,))
    assert data.param_name == [None, "0.weight", None] and data.unsupported == []


def test_layers_on_tables_and_buffers_hang_on_the_input(see):
    def forward(self, x):
        return self.head(x + self.positions(torch.arange(x.shape[1])))

    graph = see(forward, (10, 4), positions=nn.Embedding(16, 4), head=nn.Linear(4, 2))
    assert {("positions.weight", "sum"), ("input", "sum")} < graph.edges
    assert not any(after == "positions.weight" for _, after in graph.edges)

    def on_a_buffer(self, x):
        return x * self.mlp(self.grid).sum()

    graph = see(on_a_buffer, (4,), mlp=nn.Linear(2, 3), grid=nn.Buffer(torch.ones(5, 2)))
    assert graph.edges == {("input", "mlp.weight"), ("mlp.weight", "mlp.bias")}


def test_pooling_with_indices_and_mean_by_axis(see):
    def forward(self, x):
        return self.pool(self.conv(x))[0].mean(axis=(2, 3))

    layers = {"conv": nn.Conv2d(3, 4, 3), "pool": nn.MaxPool2d(2, return_indices=True)}
    assert see(forward, (3, 8, 8), **layers).ops == "input conv bias max_pool glob_avg".split()


@pytest.mark.parametrize("size", [(3, 32), (4, 32, 32), (3, 4, 4), (1, 3, 32, 32)])
def test_wrong_input_size_names_the_module(size):
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten(), nn.Linear(8 * 28 * 28, 10))
    with pytest.raises(GraphError, match=r"in module '[02]' .*input_size, without the batch"):
        from_module(model, size)


def test_errors():
    class Later(nn.Linear):
        def __init__(self, wrap):
            super().__init__(2, 2)
            self.wrap = wrap

        def forward(self, x):
            return self.wrap(super().forward(x))

    with pytest.raises(GraphError, match="returns a function in which there is no tensor"):
        from_module(Later(lambda out: lambda: out), (2,))
    assert from_module(Later(lambda out: partial(torch.add, out)), (2,)).num_nodes == 3
    with pytest.raises(GraphError, match="not both"):
        from_module(nn.Linear(2, 2), (2,), example_inputs=torch.ones(1, 2))
    with pytest.raises(GraphError, match="positive integers"):
        from_module(nn.Linear(2, 2), (0, 2))
    with pytest.raises(GraphError, match=r"got \(tensor.*images or example_inputs"):
        from_module(nn.Linear(2, 2), torch.ones(40, 2))
    for model in (nn.Linear, "resnet18", lambda: nn.Linear(2, 2)):
        with pytest.raises(ConfigError, match=r"must be a torch\.nn\.Module, got .*build_model"):
            from_module(model)
    with pytest.raises(GraphError, match=r"\(3, 224, 224\) was guessed.*as input_size, without"):
        from_module(nn.Linear(8, 2))
    with pytest.raises(GraphError, match="lazy"):
        from_module(nn.LazyLinear(2), (2,))
