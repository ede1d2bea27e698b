"""Each parameter without a node is listed with the reason."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch

from pyg_ghn.graph import from_module


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
