"""Data flow past the functions of torch: operators, views, transforms, scripts, threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph import from_module


@torch.library.custom_op("pyg_ghn_tests::fill", mutates_args=("out",))
def fill(x: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(x)


fill.register_fake(lambda x, out: None)


def custom_operator(a, x):
    fill(a(x), out := torch.zeros(2, 8))
    return out


def assigned_data(a, x):
    out = torch.zeros(2, 8)
    out.data = a(x)
    return out


def older_view(a, x):
    out = torch.zeros(2, 8)
    view = out.view(16)
    out.copy_(a(x))
    return view.view(2, 8)


def column_of_a_constant(a, x):
    out = torch.tensor([[0.0] * 8] * 2)
    for column, values in zip(out.unbind(1), a(x).unbind(1), strict=True):
        column += values
    return out


def strided_view(a, x):
    out = torch.zeros(16)
    torch.as_strided(out, (2, 8), (8, 1)).copy_(a(x))
    return out.view(2, 8)


def inferred(a, x):
    with torch.inference_mode():
        return a(x)


RECORDED = [
    custom_operator,
    assigned_data,
    older_view,
    column_of_a_constant,
    strided_view,
    inferred,
]


@pytest.mark.parametrize("between", RECORDED, ids=lambda f: f.__name__)
def test_flows_that_are_recorded(between, applied, names_of):
    model = applied(
        lambda self, x: self.b(between(self.a, x)), a=nn.Linear(8, 8), b=nn.Linear(8, 2)
    )
    labels, edges = names_of(from_module(model, (8,)))
    assert labels == "input a.weight a.bias b.weight b.bias".split()
    assert ("a.bias", "b.weight") in edges


@torch.jit.script
def scripted(x):
    return torch.tanh(x) * 2


TRANSFORMED = {
    "scripted": lambda a, x: scripted(a(x)),
    "vmap": lambda a, x: torch.vmap(torch.tanh)(a(x)),
    "vmap of a layer": lambda a, x: torch.vmap(a)(x),
    "jvp": lambda a, x: torch.func.jvp(a, (x,), (torch.ones_like(x),))[0],
    "vjp": lambda a, x: torch.func.vjp(a, x)[1](torch.ones(2, 8))[0],
    "grad": lambda a, x: torch.func.grad(lambda x: a(x).pow(2).sum())(x),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("between", TRANSFORMED.values(), ids=TRANSFORMED)
def test_flows_through_transforms_are_recorded_or_said_to_be_there(between, applied):
    model = applied(
        lambda self, x: self.b(between(self.a, x)), a=nn.Linear(8, 8), b=nn.Linear(8, 2)
    )
    data = from_module(model, (8,))
    assert {"b.weight", "b.bias"} < set(data.param_name)
    reasons = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    assert "a.weight" in data.param_name or reasons["a.weight"].startswith("reaches the output")


def test_what_other_threads_compute_is_refused(applied):
    def forward(self, x):
        with ThreadPoolExecutor(1) as pool:
            return self.b(pool.submit(self.a, x).result())

    with pytest.raises(GraphError, match=r"shape \(2, 8\) that no recorded.*other threads"):
        from_module(applied(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2)), (8,))


ELSEWHERE = [torch.ones(8, device="meta"), torch.ones(8, device="meta")]


def test_constants_on_meta_that_a_model_finds_elsewhere(applied, names_of):
    model = applied(
        lambda self, x: self.b(self.a(x) * ELSEWHERE[0] + ELSEWHERE[1]),
        a=nn.Linear(8, 8),
        b=nn.Linear(8, 2),
    )
    assert ("a.bias", "b.weight") in names_of(from_module(model, (8,)))[1]
