"""The same computation, called in another way."""

import pytest
import torch
import torchvision
from torch import nn

from pyg_ghn.graph import from_module


def test_exported_models(nodes_of, complete):
    model = torchvision.models.squeezenet1_1(num_classes=3).eval()
    image = torch.rand(2, 3, 64, 64)
    exported = torch.export.export(model, (image,)).module()
    expected = from_module(model, (3, 64, 64))
    data = complete(exported, input_size=(3, 64, 64))
    assert nodes_of(data) == nodes_of(expected)
    assert torch.equal(data.edge_index, expected.edge_index)


def test_traced_by_fx(nodes_of):
    model = torchvision.models.resnet18(num_classes=3)
    traced = torch.fx.symbolic_trace(model)
    assert nodes_of(from_module(traced)) == nodes_of(from_module(model))


def test_arguments_in_the_order_of_the_native_operations(applied, complete, names_of):
    def forward(self, x):
        norm, ids = self.norm, torch.zeros(2, dtype=torch.long)
        buffers = norm.running_mean, norm.running_var
        x = torch.batch_norm(x, norm.weight, norm.bias, *buffers, True, 0.1, 1e-5, False)
        return x.mean((2, 3)).sum(1, keepdim=True) + torch.embedding(self.embedding.weight, ids)

    model = applied(forward, norm=nn.BatchNorm2d(3), embedding=nn.Embedding(5, 4))
    labels, _ = names_of(complete(model, input_size=(3, 8, 8)))
    assert labels == "input norm.weight glob_avg embedding.weight sum".split()


BIASES = {
    "expanded": lambda x, w, v: x @ w + v.expand(2, 4),
    "in place": lambda x, w, v: v.repeat(2, 1).addmm_(x, w),
    "of parts": lambda x, w, v: ((x @ w).view(2, 2, 2) + v.view(2, 2)).flatten(1),
}


@pytest.mark.parametrize("layer", BIASES.values(), ids=BIASES)
def test_biases_of_another_shape(layer, applied, names_of):
    parts = {"w": nn.Parameter(torch.ones(8, 4)), "v": nn.Parameter(torch.ones(4))}
    model = applied(lambda self, x: layer(x, self.w, self.v), **parts)
    assert names_of(from_module(model, (8,)))[0] == ["input", "w", "v"]


def test_written_out_norms_add_no_global_pooling(applied, names_of):
    def forward(self, x):
        x = self.first(x)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)  # root mean square
        centred = x - x.mean(-1, keepdim=True)
        return self.second(centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt())

    model = applied(forward, first=nn.Linear(8, 8), second=nn.Linear(8, 2))
    labels, edges = names_of(from_module(model, (5, 8)))
    assert labels == "input first.weight first.bias second.weight second.bias".split()
    assert ("first.bias", "second.weight") in edges


def test_positions_that_data_is_turned_into_carry_no_flow(applied, names_of, complete):
    """Each sample has a kernel of its own; which one depends on data."""

    def forward(self, x):
        chosen = self.router(x).topk(1).indices
        rows = zip(x, chosen, strict=True)
        return torch.stack([row @ self.kernels[index[0]] for row, index in rows])

    kernels = nn.Parameter(torch.ones(3, 4, 2))
    data = complete(applied(forward, router=nn.Linear(4, 3), kernels=kernels), input_size=(4,))
    assert ("input", "kernels") in names_of(data)[1]
    assert data.unsupported_reason == ["does not reach the output"] * 2


def test_rounded_data_is_data(names_of):
    class Rounds(nn.Linear):
        def forward(self, x):
            return super().forward((x * 255).to(torch.uint8).float())

    assert ("input", "weight") in names_of(from_module(Rounds(4, 2), (4,)))[1]
