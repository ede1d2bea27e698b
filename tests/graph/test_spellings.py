"""The same computation, called in another way."""

import pytest
import torch
import torchvision
from torch import nn

from pyg_ghn.graph import from_module


def test_models_exported_and_traced_by_fx(complete, assert_same_graph):
    model = torchvision.models.squeezenet1_1(num_classes=3).eval()
    exported = torch.export.export(model, (torch.rand(2, 3, 64, 64),)).module()
    data = complete(exported, input_size=(3, 64, 64))
    assert_same_graph(data, from_module(model, (3, 64, 64)))
    model = torchvision.models.resnet18(num_classes=3)
    traced = torch.fx.symbolic_trace(model)
    assert_same_graph(from_module(traced), from_module(model))


def test_arguments_in_the_order_of_the_native_operations(see):
    def forward(self, x):
        norm, ids = self.norm, torch.zeros(2, dtype=torch.long)
        buffers = norm.running_mean, norm.running_var
        x = torch.batch_norm(x, norm.weight, norm.bias, *buffers, True, 0.1, 1e-5, False)
        return x.mean((2, 3)).sum(1, keepdim=True) + torch.embedding(self.embedding.weight, ids)

    graph = see(forward, (3, 8, 8), norm=nn.BatchNorm2d(3), embedding=nn.Embedding(5, 4))
    assert graph.labels == "input norm.weight glob_avg embedding.weight sum".split()


BIASES = {
    "expanded": lambda self, x: x @ self.w + self.v.expand(2, 4),
    "in place": lambda self, x: self.v.repeat(2, 1).addmm_(x, self.w),
    "of parts": lambda self, x: ((x @ self.w).view(2, 2, 2) + self.v.view(2, 2)).flatten(1),
}


@pytest.mark.parametrize("layer", BIASES.values(), ids=BIASES)
def test_biases_of_another_shape(layer, see):
    parts = {"w": nn.Parameter(torch.ones(8, 4)), "v": nn.Parameter(torch.ones(4))}
    assert see(layer, (8,), **parts).labels == ["input", "w", "v"]


def test_written_out_norms_add_no_global_pooling(see):
    def forward(self, x):
        x = self.first(x)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)  # root mean square
        centred = x - x.mean(-1, keepdim=True)
        return self.second(centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt())

    graph = see(forward, (5, 8), first=nn.Linear(8, 8), second=nn.Linear(8, 2))
    assert graph.labels == "input first.weight first.bias second.weight second.bias".split()
    assert ("first.bias", "second.weight") in graph.edges


def test_rounded_data_carries_a_flow_but_positions_do_not(see):
    """Each sample has a kernel of its own; which one depends on data."""

    def forward(self, x):
        chosen = self.router(x).topk(1).indices
        rows = zip(x, chosen, strict=True)
        return torch.stack([row @ self.kernels[index[0]] for row, index in rows])

    kernels = nn.Parameter(torch.ones(3, 4, 2))
    graph = see(forward, (4,), router=nn.Linear(4, 3), kernels=kernels)
    assert ("input", "kernels") in graph.edges
    assert [*graph.left.values()] == ["does not reach the output"] * 2

    def rounds(self, x):
        return self.linear((x * 255).to(torch.uint8).float())

    assert ("input", "linear.weight") in see(rounds, (4,), linear=nn.Linear(4, 2)).edges
