"""Data flow past the functions of torch: operators, views, transforms, scripts, threads."""

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
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


def one_of_several_constants(a, x):
    out = [torch.tensor([[0.0] * 8] * 2)]
    torch._foreach_copy_(out, [a(x)])
    return out[0]


def quantized(a, x):
    return torch.quantize_per_tensor(a(x), 0.1, 0, torch.qint8).dequantize()


def of_quantized_numbers(a, x):
    x = torch.quantize_per_tensor(a(x)[..., None], 0.1, 0, torch.quint8)
    norm = torch.ones(8), torch.zeros(8), torch.zeros(8), torch.ones(8)
    x = torch.ops.quantized.batch_norm2d(x[..., None], *norm, 1e-5, 0.1, 0)
    return x.dequantize().flatten(1)


def inferred(a, x):
    with torch.inference_mode():
        return a(x)


RECORDED = [custom_operator, assigned_data, older_view, column_of_a_constant, strided_view]
RECORDED += [one_of_several_constants, quantized, of_quantized_numbers, inferred]


@pytest.fixture
def pair(applied):
    """Two layers and what is between them, a function of the first one and the input."""

    def make(between, **parts):
        layers = {"a": nn.Linear(8, 8), "b": nn.Linear(8, 2)}
        return applied(lambda self, x: self.b(between(self.a, x)), **layers, **parts)

    return make


@pytest.mark.parametrize("between", RECORDED, ids=lambda f: f.__name__)
def test_flows_that_are_recorded(between, pair, names_of):
    labels, edges = names_of(from_module(pair(between), (8,)))
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
def test_flows_through_transforms_are_recorded_or_said_to_be_there(between, pair):
    data = from_module(pair(between), (8,))
    assert {"b.weight", "b.bias"} < set(data.param_name)
    reasons = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
    assert "a.weight" in data.param_name or reasons["a.weight"].startswith("reaches the output")


LEAVES = {
    "numpy": lambda x: torch.from_numpy(np.tanh(x.numpy())),
    "detached": lambda x: torch.from_numpy(np.tanh(x.detach().numpy())),
    "asarray": lambda x: torch.tensor(np.asarray(x)),
    "tolist": lambda x: torch.tensor(x.tolist()),
    "item": lambda x: torch.tensor([[v.item() for v in row] for row in x]),
    "dlpack": lambda x: torch.from_dlpack(x) if float(x[0, 0]) < 1e9 else x,
}


@pytest.mark.parametrize("between", LEAVES.values(), ids=LEAVES)
def test_values_that_leave_torch_are_said_to_be_read(between, pair):
    data = from_module(pair(lambda a, x: between(a(x))), (8,))
    assert data.unsupported == ["a.weight", "a.bias"]
    assert all(reason.startswith("read as values (") for reason in data.unsupported_reason)


def saved(x):
    torch.save(x, file := io.BytesIO())
    file.seek(0)
    return torch.load(file)


class Tagged(torch.Tensor):
    pass


COPIES = {
    "copy": copy.copy,
    "copy of a subclass": lambda x: copy.copy(x.as_subclass(Tagged)),
    "pickle": lambda x: pickle.loads(pickle.dumps([x])),
    "save": saved,
}


@pytest.mark.parametrize("between", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("reads_values", [False, True])
def test_copies_that_no_function_shows_are_refused(between, reads_values, applied):
    def forward(self, x):
        x = self.a(x)
        return x if reads_values and float(x.sum()) > 1e9 else between(x)

    with pytest.raises(GraphError, match=r"shape \(2, 8\) by copy.copy or pickle.*clone"):
        from_module(applied(forward, a=nn.Linear(8, 8)), (8,))


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("reads_values", [False, True])
def test_what_other_threads_compute_is_refused(reads_values, held, applied):
    def forward(self, x):
        if reads_values and float(x.sum()) > 1e9:
            return x
        with ThreadPoolExecutor(1) as own:
            pool = self.pool if held else own
            return self.b(pool.submit(self.a, x).result())

    with ThreadPoolExecutor(1) as pool:
        model = applied(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2), pool=pool)
        with pytest.raises(GraphError, match=r"shape \(2, 8\) that no recorded.*other threads"):
            from_module(model, (8,))


VIEWS = {
    "data": lambda w: w.data,
    "transposed": lambda w: w.detach().t().t(),
    "rows": lambda w: w[2:],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("reads_values", [False, True])
def test_views_of_a_parameter_that_a_model_keeps(view, reads_values, applied, names_of):
    def forward(self, x):
        x = x @ self.kept["w"]
        return x if reads_values and float(x.sum()) > 1e9 else self.b(x)

    w = nn.Parameter(torch.ones(8, 8))
    kept = view(w.detach())
    model = applied(forward, kept={"w": kept}, w=w, b=nn.Linear(8, 2))
    data = from_module(model, (len(kept),))
    assert names_of(data)[0] == "input w b.weight b.bias".split() and not data.unsupported


def test_views_of_a_buffer_see_what_is_written_into_it(pair, names_of):
    def between(a, x):
        state.copy_(a(x))
        return model.flat.view(2, 8)

    state = nn.Buffer(torch.zeros(2, 8))
    model = pair(between, state=state, flat=state.detach().view(16))
    assert ("a.bias", "b.weight") in names_of(from_module(model, (8,)))[1]
    assert not state.any()


ELSEWHERE = [torch.ones(8, device="meta"), torch.ones(8, device="meta")]
CONSTANT, CACHE = torch.ones(8), {}


def test_constants_that_a_model_finds_elsewhere(pair, names_of):
    model = pair(lambda a, x: a(x) * ELSEWHERE[0] + ELSEWHERE[1])
    assert ("a.bias", "b.weight") in names_of(from_module(model, (8,)))[1]

    def between(a, x):
        x = a(x) * CONSTANT
        if float(x.sum()) > 1e9:
            return x
        if "scale" not in CACHE:
            CACHE["scale"] = torch.full((8,), 2.0)
        x = x[:, torch.LongTensor(range(8))]
        return x * CACHE["scale"] + torch.from_numpy(np.ones(8, np.float32))

    assert ("a.bias", "b.weight") in names_of(from_module(pair(between), (8,)))[1]
    assert torch.equal(CACHE.pop("scale"), torch.full((8,), 2.0))
