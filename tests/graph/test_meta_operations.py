"""Shape-only operations give the shapes and types of the real ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.graph import from_module
from pyg_ghn.graph.meta_operations import SHAPE_ONLY
from pyg_ghn.graph.trace import trace

x = torch.empty(2, 4, 9, 8, device="meta")
w = torch.empty(6, 4, 3, 3, device="meta")
half = x.half()

CASES = [
    (F.relu, (x,), {}),
    (F.softmax, (x,), {"dim": 1}),
    (F.layer_norm, (x, (8,)), {}),
    (F.layer_norm, (x.transpose(1, 2), (8,)), {}),
    (torch.roll, (x.transpose(1, 2), (1, 2), (0, 1)), {}),
    (F.batch_norm, (x, x[0, :, 0, 0], x[0, :, 0, 0]), {"training": True}),
    (F.group_norm, (x, 2, x[0, :, 0, 0]), {}),
    (F.dropout, (x, 0.5), {}),
    (F.normalize, (x,), {"dim": -1}),
    (F.normalize, (x.unflatten(1, (2, 2)).permute(1, 0, 3, 2, 4)[0], 1.0, (0, 1)), {}),
    (torch.exp, (x,), {}),
    (torch.clamp, (x, 0.0), {}),
    (torch.clamp, (half,), {"max": 1}),
    (torch.add, (x, x), {}),
    (torch.mul, (half, 2.5), {}),
    (torch.mul, (x, torch.empty(4, 1, 1, device="meta")), {}),
    (torch.sub, (torch.empty(8, device="meta"), x), {}),
    (torch.add, (x.transpose(1, 3), x.transpose(1, 3).contiguous()), {}),
    (torch.add, (x, x.mT.contiguous().mT), {}),
    (torch.mul, (x.permute(2, 0, 3, 1), torch.empty(9, 1, 1, 1, device="meta")), {}),
    (torch.div, (x, torch.empty(2, 1, 1, 8, device="meta")), {}),
    (torch.div, (half, 3), {}),
    (torch.eq, (x, 0), {}),
    (torch.Tensor.__ge__, (x.long(), 1.5), {}),
    (torch.masked_fill, (x, x[0] == 0, 1.0), {}),
    (torch.masked_fill, (x[0, 0], x == 0, 1), {}),
    (torch.Tensor.__getitem__, (x, torch.ones(3, 5, device="meta").long()), {}),
    (torch.matmul, (x, torch.empty(2, 4, 8, 3, device="meta")), {}),
    (torch.matmul, (x.mT, torch.empty(9, 3, device="meta")), {}),
    (torch.cat, ([x, x[:, :1]],), {"dim": 1}),
    (torch.cat, ((x, x), -1), {}),
    (torch.mean, (x, (2, 3)), {}),
    (torch.mean, (x, -1), {"keepdim": True}),
    (F.linear, (x, torch.empty(5, 8, device="meta")), {}),
    (F.conv2d, (x, w), {}),
    (F.conv2d, (x, w, None, 2, 1), {}),
    (F.conv2d, (x, w, None, (2, 1), (1, 0), (1, 2)), {}),
    (F.conv2d, (x, w), {"padding": "same", "dilation": 2}),
    (F.conv2d, (x, torch.empty(8, 2, 3, 3, device="meta")), {"groups": 2, "padding": "valid"}),
    (F.adaptive_avg_pool2d, (x, 1), {}),
    (F.adaptive_avg_pool2d, (x, (3, 2)), {}),
    (F.scaled_dot_product_attention, (x, x[..., :5, :], x[..., :5, :3]), {}),
]


@pytest.mark.parametrize("function, args, kwargs", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_same_shape_and_type(function, args, kwargs):
    expected = function(*args, **kwargs)
    found = SHAPE_ONLY[function.__name__](*args, **kwargs)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert found.is_meta and found is not args[0]
    if function in (F.normalize, torch.add, torch.mul, torch.masked_fill):
        assert found.stride() == expected.stride()


@pytest.mark.parametrize(
    "name, args, kwargs",
    [
        ("add", (1.0, x), {}),
        ("add", (x.long(), 1.0), {}),
        ("mul", (x.transpose(1, 2), 2), {}),
        ("add", (x, x), {"alpha": 2}),
        ("mul", (x, half), {}),  # type promotion
        ("add", (x.transpose(1, 2)[..., ::2], x.transpose(1, 2)[..., ::2]), {}),  # has gaps
        ("mul", (x[:1].expand(2, -1, -1, -1), x), {}),
        ("add", (x, x[..., :3]), {}),
        ("div", (x.long(), 2), {}),
        ("add_", (x.long(), 1.5), {}),
        ("div_", (x.long(), 2), {}),
        ("add_", (x, x[0]), {}),
        ("mul_", (x[:1].expand(2, -1, -1, -1), 2), {}),
        ("eq", (x, x), {}),
        ("eq", (torch.ones(2), 1), {}),
        ("masked_fill", (x, x, 1.0), {}),
        ("masked_fill", (x, x == 0, x.sum()), {}),
        ("__getitem__", (x, 0), {}),
        ("__getitem__", (x, x == 0), {}),
        ("__getitem__", (x.mT, torch.ones(2, device="meta").long()), {}),
        ("matmul", (x, x), {}),
        ("matmul", (x, x[0, 0, 0]), {}),
        ("matmul", (x, x[0].mT), {}),
        ("exp", (x.long(),), {}),
        ("exp", (x,), {"out": x}),
        ("mul", (torch.ones(2), 2), {}),  # a constant keeps its values
        ("normalize", (torch.ones(2, 2),), {}),
        ("clamp", (x, x), {}),
        ("clamp", (x, 0.0), {"out": x}),
        ("normalize", (x, 2.0, 4), {}),
        ("mean", (x,), {}),
        ("adaptive_avg_pool2d", (x, (None, 2)), {}),
        ("cat", ([x, half],), {}),
        ("multi_head_attention_forward", (x, x, x, 8), {"need_weights": True}),
        ("multi_head_attention_forward", (x, x, x, 9), {"need_weights": False}),
        ("relu", (x.transpose(1, 2),), {}),  # strides of the result differ from op to op
        ("softmax", (half,), {"dim": 1, "dtype": torch.float32}),
        ("cat", ([x, x],), {"axis": 1}),
        # What does not fit: torch raises its own error.
        ("cat", ([x, x[..., 1:]],), {"dim": 1}),
        ("cat", ([x, x[0]],), {"dim": 1}),
        ("mean", (x, 7), {}),
        ("batch_norm", (x, x[0, 0, 0], x[0, 0, 0]), {}),
        ("group_norm", (x, 3), {}),
        ("layer_norm", (x, (9,)), {}),
        ("linear", (x, torch.empty(5, 9, device="meta")), {}),
        ("linear", (x, torch.empty(8, device="meta")), {}),
        ("conv2d", (x[0], w), {}),
        ("conv2d", (x[:, 1:], w), {}),
        ("conv2d", (x[..., :2], w), {}),
        ("scaled_dot_product_attention", (x, x[..., 1:], x), {}),
    ],
)
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
