"""Shape-only operations give the shapes and types of the real ones."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.graph import from_module
from pyg_ghn.graph.meta_operations import SHAPE_ONLY
from pyg_ghn.graph.trace import trace

empty = partial(torch.empty, device="meta")
x, w = empty(2, 4, 9, 8), empty(6, 4, 3, 3)
half = x.half()
# Positional arguments of each call.
CALLS = {
    F.relu: [(x,)],
    F.layer_norm: [(x, (8,)), (x.transpose(1, 2), (8,))],
    torch.roll: [(x.transpose(1, 2), (1, 2), (0, 1))],
    F.group_norm: [(x, 2, x[0, :, 0, 0])],
    F.dropout: [(x, 0.5)],
    F.normalize: [(x.unflatten(1, (2, 2)).permute(1, 0, 3, 2, 4)[0], 1.0, (0, 1))],
    torch.exp: [(x,)],
    torch.clamp: [(x, 0.0)],
    torch.add: [
        *[(x, x), (x.transpose(1, 3), x.transpose(1, 3).contiguous())],
        (x, x.mT.contiguous().mT),
    ],
    torch.mul: [(half, 2.5), (x, empty(4, 1, 1)), (x.permute(2, 0, 3, 1), empty(9, 1, 1, 1))],
    torch.sub: [(empty(8), x)],
    torch.div: [(x, empty(2, 1, 1, 8)), (half, 3)],
    torch.eq: [(x, 0)],
    torch.Tensor.__ge__: [(x.long(), 1.5)],
    torch.masked_fill: [(x, x[0] == 0, 1.0), (x[0, 0], x == 0, 1)],
    torch.Tensor.__getitem__: [(x, torch.ones(3, 5, device="meta").long())],
    torch.matmul: [(x, empty(2, 4, 8, 3)), (x.mT, empty(9, 3))],
    torch.cat: [((x, x), -1)],
    torch.mean: [(x, (2, 3))],
    F.linear: [(x, empty(5, 8))],
    F.conv2d: [(x, w), (x, w, None, 2, 1), (x, w, None, (2, 1), (1, 0), (1, 2))],
    F.adaptive_avg_pool2d: [(x, 1), (x, (3, 2))],
    F.scaled_dot_product_attention: [(x, x[..., :5, :], x[..., :5, :3])],
}
CASES = [(function, args, {}) for function, calls in CALLS.items() for args in calls]
CASES += [
    (F.softmax, (x,), {"dim": 1}),
    (F.batch_norm, (x, x[0, :, 0, 0], x[0, :, 0, 0]), {"training": True}),
    (F.normalize, (x,), {"dim": -1}),
    (torch.clamp, (half,), {"max": 1}),
    (torch.cat, ([x, x[:, :1]],), {"dim": 1}),
    (torch.mean, (x, -1), {"keepdim": True}),
    (F.conv2d, (x, w), {"padding": "same", "dilation": 2}),
    (F.conv2d, (x, empty(8, 2, 3, 3)), {"groups": 2, "padding": "valid"}),
]


@pytest.mark.parametrize("function, args, kwargs", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_same_shape_and_type(function, args, kwargs):
    expected = function(*args, **kwargs)
    found = SHAPE_ONLY[function.__name__](*args, **kwargs)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert found.is_meta and found is not args[0]
    if function in (F.normalize, torch.add, torch.mul, torch.masked_fill):
        assert found.stride() == expected.stride()


gaps, expanded = x.transpose(1, 2)[..., ::2], x[:1].expand(2, -1, -1, -1)
ones = torch.ones(2, 2)  # a constant, which keeps its values
LEFT_TO_TORCH = {
    "add": [(1.0, x), (x.long(), 1.0), (gaps, gaps), (x, x[..., :3])],
    "mul": [(x.transpose(1, 2), 2), (x, half), (expanded, x), (ones, 2)],  # types, promoted
    "div": [(x.long(), 2)],
    "add_": [(x.long(), 1.5), (x, x[0])],
    "div_": [(x.long(), 2)],
    "mul_": [(expanded, 2)],
    "eq": [(x, x), (ones, 1)],
    "masked_fill": [(x, x, 1.0), (x, x == 0, x.sum())],
    "__getitem__": [(x, 0), (x, x == 0), (x.mT, torch.ones(2, device="meta").long())],
    "matmul": [(x, x), (x, x[0, 0, 0]), (x, x[0].mT)],
    "exp": [(x.long(),)],
    "normalize": [(ones,), (x, 2.0, 4)],
    "clamp": [(x, x)],
    "mean": [(x,), (x, 7)],
    "adaptive_avg_pool2d": [(x, (None, 2))],
    "cat": [([x, half],)],
    "relu": [(x.transpose(1, 2),)],  # strides of the result differ from op to op
    # What does not fit: torch raises its own error.
    "batch_norm": [(x, x[0, 0, 0], x[0, 0, 0])],
    "group_norm": [(x, 3)],
    "layer_norm": [(x, (9,))],
    "linear": [(x, empty(5, 9)), (x, empty(8))],
    "conv2d": [(x[0], w), (x[:, 1:], w), (x[..., :2], w)],
    "scaled_dot_product_attention": [(x, x[..., 1:], x)],
}
LEFT_TO_TORCH = [(name, args, {}) for name, calls in LEFT_TO_TORCH.items() for args in calls]
LEFT_TO_TORCH += [
    ("add", (x, x), {"alpha": 2}),
    ("exp", (x,), {"out": x}),
    ("clamp", (x, 0.0), {"out": x}),
    ("multi_head_attention_forward", (x, x, x, 8), {"need_weights": True}),
    ("multi_head_attention_forward", (x, x, x, 9), {"need_weights": False}),
    ("softmax", (half,), {"dim": 1, "dtype": torch.float32}),
    ("cat", ([x, x],), {"axis": 1}),
    ("cat", ([x, x[..., 1:]],), {"dim": 1}),
    ("cat", ([x, x[0]],), {"dim": 1}),
]


@pytest.mark.parametrize("name, args, kwargs", LEFT_TO_TORCH)
def test_what_is_not_covered_is_left_to_torch(name, args, kwargs):
    assert SHAPE_ONLY[name](*args, **kwargs) is NotImplemented


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("packed", [False, True])
def test_recurrent(applied, kind, packed):
    def forward(self, x):
        if packed:
            x = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 2]), batch_first=True)
        out, hidden = self.rnn(x)
        return (out.data if packed else out, *(hidden if kind is nn.LSTM else (hidden,)))

    model = applied(forward, rnn=kind(3, 5, num_layers=2, bidirectional=True, batch_first=True))
    x = torch.ones(2, 4, 3)
    assert [t.shape for t in trace(model, (x,)).outputs] == [t.shape for t in model(x)]


def test_in_place_operations_are_not_replaced(applied):
    def forward(self, x):
        y = F.relu(x, inplace=True)
        assert y is x and x.add_(y) is x and x.mul_(2) is x
        y /= 2
        return y

    assert from_module(applied(forward), (3,)).num_nodes == 1
