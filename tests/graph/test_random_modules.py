"""Random modules of known data flow: no edge is lost or wrong, no reason is false.

A module is a list of steps, each applied to results of earlier ones, all of one shape. While it is
built, every result carries the layers that it directly comes from. ``make fuzz`` tries thousands.
"""

import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.graph.unsupported import CUT_OFF, UNUSED

EXAMPLES = int(os.environ.get("FUZZ") or 0)
SHAPE = (2, 4, 4, 4)
INPUT = -1


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4, 4))

    def forward(self, x):
        return x + self.weight


class Product(nn.Linear):
    def forward(self, x):
        return x @ self.weight.t() + self.bias


class Convolution(nn.Conv2d):
    def forward(self, x):
        return torch.conv2d(input=x, weight=self.weight, bias=self.bias, groups=self.groups)


LAYERS = [
    lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
    lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False),
    lambda: nn.ConvTranspose2d(4, 4, 1),
    lambda: Convolution(4, 4, 1),
    lambda: nn.Linear(4, 4),
    lambda: nn.Sequential(nn.Identity(), nn.Linear(4, 4, bias=False), nn.ReLU(inplace=True)),
    lambda: Product(4, 4),
    lambda: nn.BatchNorm2d(4),
    lambda: nn.LayerNorm(4),
    lambda: nn.GroupNorm(2, 4),
    Position,
]

# Where a module keeps a layer, and how it gets it back.
HOLDERS = [
    (lambda layer: [layer], lambda held: held[0]),
    (lambda layer: {"of": {"it": layer}}, lambda held: held["of"]["it"]),
    (lambda layer: SimpleNamespace(it=(layer,)), lambda held: held.it[0]),
    (lambda layer: partial(lambda layer, x: layer(x), layer), lambda held: held),
    (lambda layer: lambda x: layer(x), lambda held: held),
    (
        lambda layer: (layer, dict(layer.named_parameters())),
        lambda held: lambda x: torch.func.functional_call(*held, (x,)),
    ),
]


def into_part(a, b):
    a = a.clone()
    a[:, :2] = b[:, :2]
    return a


def through_view(a, b):
    a = a.clone()
    a.transpose(1, 2)[1:].add_(b[1:])
    return a


def older_view(a, b):
    a = a.clone()
    view = a.view(-1)
    a.mul_(b)
    return view.view(SHAPE)


def into_constant(a, b):
    out = torch.zeros(8, 4, 4)
    out.index_add_(0, torch.arange(8), a.flatten(0, 1))
    return (out + b.flatten(0, 1)).view(SHAPE)


UNARY = [
    F.relu,
    torch.Tensor.sigmoid,
    lambda a: F.gelu(a) * 2 + torch.arange(4),
    lambda a: torch.cat(a.chunk(2, 1)[::-1], 1),
    lambda a: torch.stack(a.unbind(2), 2),
    lambda a: sum(a.split(1, 1)).expand(SHAPE),
    lambda a: a.permute(0, 2, 3, 1).reshape(2, -1).view(2, 4, 4, 4),
    lambda a: a.flatten(1).unflatten(1, (4, 4, 4)).contiguous(),
    lambda a: F.max_pool2d(a, 3, 1, 1),
    lambda a: F.avg_pool2d(a, 3, 1, 1),
    lambda a: F.pad(a, (1, 1)).roll(1, -1)[..., 1:-1],
    lambda a: a * a.mean((2, 3), keepdim=True),
    lambda a: a * F.adaptive_avg_pool2d(a, 1).sigmoid(),
    lambda a: F.dropout(a).softmax(-1),
    lambda a: a.clone().relu_().add_(1),
    lambda a: a.masked_fill(torch.eye(4).bool(), 0),
]
BINARY = [
    torch.add,
    lambda a, b: a - b,
    torch.mul,
    torch.maximum,
    torch.matmul,
    lambda a, b: torch.cat([a, b], 1).view(2, 2, *SHAPE[1:]).sum(1),
    lambda a, b: torch.stack((a, b)).mean(0),
    lambda a, b: torch.where(torch.eye(4).bool(), a, b),
    lambda a, b: torch.einsum("ncij,ncjk->ncik", a, b),
    lambda a, b: torch.addcmul(a, b, b),
    into_part,
    through_view,
    older_view,
    into_constant,
]
OUTPUTS = [tuple, lambda values: {"of": values}, lambda values: SimpleNamespace(of={"it": values})]

numbers = st.integers(0, 99)
recent = st.integers(0, 4)  # results, from the last one back
steps = st.lists(
    st.tuples(
        st.sampled_from("layer layer layer layer one two two two two constant cut".split()),
        numbers,
        recent,
        recent,
    ),
    min_size=6,
    max_size=16,
)


class Program(nn.Module):
    """The module, and beside it the truth: for each application of a layer its number and what it
    directly takes its input from."""

    def __init__(self, kinds, steps, outputs):
        super().__init__()
        self.layers = nn.ModuleList(LAYERS[kind % len(LAYERS)]() for kind, _ in kinds)
        holders = [HOLDERS[holder % len(HOLDERS)] for _, holder in kinds]
        self.held = [hold(layer) for (hold, _), layer in zip(holders, self.layers, strict=True)]
        self._get = [get for _, get in holders]
        self._steps, self._outputs = steps, outputs
        self.applied = []
        sources = [frozenset([INPUT])]
        for kind, what, first, second in steps:
            a, b = (sources[-1 - place % len(sources)] for place in (first, second))
            if kind == "layer":
                which = what % len(self.layers)
                layer = self.layers[which]
                if isinstance(layer, (Position, Product)) and not a:
                    sources.append(frozenset())  # no data to add to: see `forward`
                    continue
                is_position = isinstance(layer, Position)
                self.applied.append((which, frozenset() if is_position else a or {INPUT}))
                made = frozenset([len(self.applied) - 1])
                sources.append(a | made if is_position else made)
            else:
                of = {"one": a, "two": a | b, "constant": frozenset(), "cut": a}
                sources.append(of[kind])
        self.ends = frozenset().union(*(sources[-1 - place % len(sources)] for place in outputs))
        self._flows = [bool(s) for s in sources]

    def forward(self, x):
        values = [x]
        for kind, what, first, second in self._steps:
            flows = self._flows[len(values) - 1 - first % len(values)]
            a, b = (values[-1 - place % len(values)] for place in (first, second))
            if kind == "layer":
                which = what % len(self.layers)
                if flows or not isinstance(self.layers[which], (Position, Product)):
                    a = self._get[which](self.held[which])(a)
            elif kind == "one":
                a = UNARY[what % len(UNARY)](a)
            elif kind == "two":
                a = BINARY[what % len(BINARY)](a, b)
            else:
                a = torch.linspace(0, 1, 4).expand(SHAPE) if kind == "constant" else a + b.detach()
            values.append(a)
        kind = OUTPUTS[len(values) % len(OUTPUTS)]
        return kind([values[-1 - place % len(values)] for place in self._outputs])

    def truth(self):
        """The applications on which the output depends, renumbered."""
        live, stack = set(), [*self.ends]
        while stack:
            place = stack.pop()
            if place not in live and place != INPUT:
                live.add(place)
                stack += self.applied[place][1]
        order = {INPUT: INPUT, **{place: i for i, place in enumerate(sorted(live))}}
        return [
            (self.applied[place][0], {order[p] for p in self.applied[place][1]})
            for place in sorted(live)
        ]


def layers_of(data):
    """The nodes with weights, and what they take their input from past all other nodes."""
    sources, found = [{INPUT}], []
    for index in range(1, data.num_nodes):
        preds = data.edge_index[0][data.edge_index[1] == index].tolist()
        before = set().union(*(sources[p] for p in preds))
        if PRIMITIVES[data.x[index, 0]] in "conv sep_conv dil_conv bn ln pos_enc".split():
            found.append((data.param_name[index], before))
            before = {len(found) - 1}
        sources.append(before)
    return found


@pytest.mark.usefixtures("few_objects")
@settings(max_examples=EXAMPLES or 300, derandomize=not EXAMPLES, deadline=None, database=None)
@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5),
    steps,
    st.lists(recent, min_size=1, max_size=3),
)
def test_the_graph_is_the_true_data_flow(kinds, steps, outputs):
    model = Program(kinds, steps, outputs)
    if not model.ends:
        with pytest.raises(GraphError, match="does not depend on its input"):
            from_module(model, SHAPE[1:])
        return
    data, truth = from_module(model, SHAPE[1:]), model.truth()
    named = {name: int(name.split(".")[1]) for name, _ in model.named_parameters()}
    found = layers_of(data)
    assert [preds for _, preds in found] == [preds for _, preds in truth]
    first = set()
    for (name, _), (which, _) in zip(found, truth, strict=True):
        assert (which in first) == (name is None)  # a shared weight is named once
        assert name is None or named[name] == which
        first.add(which)
    reasons = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    used = {which for which, _ in model.applied}
    expected = {n: CUT_OFF if i in used else UNUSED for n, i in named.items() if i not in first}
    assert reasons == expected
