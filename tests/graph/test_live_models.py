"""Models that cache, serve or are interrupted while their graphs are made."""

import functools
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import _dynamo, nn

import pyg_ghn.graph
from pyg_ghn.errors import GraphError
from pyg_ghn.graph import from_module, trace

TABLES = {}


@functools.lru_cache
def cached(n):
    return torch.arange(float(n)).sin()[:, None]


class Caching(nn.Linear):
    of_class = None

    @functools.lru_cache  # noqa: B019
    def by_method(self, n):
        return torch.linspace(0, 1, n).view(n, 1)

    def forward(self, x):
        n = x.shape[1]
        if n not in TABLES:
            table = TABLES[n] = torch.zeros(n, 4)
            table[:, 0::2] = torch.outer(torch.arange(float(n)), torch.tensor([1.0, 0.5])).cos()
        if Caching.of_class is None:
            noise = torch.randn(4, generator=torch.Generator().manual_seed(1))
            Caching.of_class = noise
        return super().forward(x + cached(n) + TABLES[n] + self.by_method(n) + self.of_class)


def forget():
    TABLES.clear(), cached.cache_clear(), Caching.by_method.cache_clear()
    Caching.of_class = None


def test_what_outlives_a_pass_has_the_values_of_a_real_one():
    model, x = Caching(4, 2), torch.ones(2, 6, 4)
    expected = model(x)
    forget()
    from_module(model, example_inputs=x)
    assert TABLES and Caching.of_class is not None  # filled by the pass
    assert torch.equal(model(x), expected)
    forget()


KEPT = {
    "parameter": lambda m: m.weight,
    "buffer": lambda m: m.scale,
    "module": lambda m: m.inner,
    "tuple of a function": lambda m: torch.arange(8.0).chunk(2),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("reads_values", [False, True])
def test_a_cache_of_what_a_model_holds_is_as_after_a_real_pass(kept, reads_values):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.scale = nn.Parameter(torch.rand(8)), nn.Buffer(torch.rand(8))
            self.inner = nn.LayerNorm(8)

        def forward(self, x):
            table = TABLES.setdefault("kept", kept(self))
            table = getattr(table, "weight", table)
            x = x * (table if isinstance(table, torch.Tensor) else table[1].repeat(2)) * self.weight
            return -x if reads_values and float(x.sum()) > 1e9 else x

    model, x = Keeping(), torch.rand(2, 8)
    from_module(model, example_inputs=x)
    with torch.no_grad():  # what is kept changes with the model
        for t in (model.weight, model.scale, model.inner.weight):
            t.mul_(2)
    found = model(x)
    forget()
    assert torch.equal(found, model(x))
    forget()


def test_threads_that_trace_and_serve_one_model():
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)), nn.BatchNorm1d(8)).eval()
    x, before = torch.rand(3, 8), dict(model.named_parameters())
    expected, graph, wrong, end = model(x), from_module(model, (8,)), [], threading.Event()

    def serve():
        while not end.is_set():
            if not torch.equal(model(x), expected):
                wrong.append("served")

    def make(_):
        data = from_module(model, (8,))
        same = torch.equal(data.edge_index, graph.edge_index)
        return same and data.param_name == graph.param_name

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(5) as pool:
            server = pool.submit(serve)
            try:
                assert all(pool.map(make, range(24)))
            finally:
                end.set()
            server.result()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert all(p is before[name] for name, p in model.named_parameters())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_exception_at_any_point_leaves_the_model_as_it_was(error, few_objects):
    """At each place in turn from which a function of the tracer is called."""
    folder = str(Path(pyg_ghn.graph.__file__).parent)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    model.held = [iter("ab"), {"of": (nn.Identity(), functools.partial(print, end=""))}]
    model.register_forward_pre_hook(lambda module, args: (args[0] * torch.ones(2, 3, 4, 4),))
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values = {name: t.clone() for name, t in tensors.items()}
    attributes = [dict(vars(m)) for m in model.modules()]
    attributes = [
        {k: dict(v) if isinstance(v, dict) else v for k, v in a.items()} for a in attributes
    ]

    def interrupt(frame, event, arg):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(folder) and code.co_name[0] != "<":
            place = code, frame.f_back.f_code, frame.f_back.f_lineno
            if place not in tried:
                tried.add(place)
                sys.settrace(None)
                raise error

    tried, before = set(), -1
    while before < len(tried):
        before = len(tried)
        sys.settrace(interrupt)
        try:
            from_module(model, (3, 4, 4))
        except (error, GraphError):
            pass
        finally:
            sys.settrace(None)
        for module, expected in zip(model.modules(), attributes, strict=True):
            assert vars(module) == expected
        for name, t in (*model.named_parameters(), *model.named_buffers()):
            assert t is tensors[name] and torch.equal(t, values[name])
        assert torch.is_grad_enabled() and torch.empty(1).device.type == "cpu"
    assert before > 100


def test_an_interrupt_at_any_line_does_not_leave_functions_uncompiled(monkeypatch):
    """Even where a lock stays with the thread."""
    monkeypatch.setitem(trace._eager, "lock", threading.RLock())
    lines = 0
    for place in range(1, 99):
        count = iter(range(place))

        def interrupt(frame, event, arg, count=count):
            if frame.f_code is not trace.uncompiled.__wrapped__.__code__:
                return None
            if event == "line" and next(count, None) is None:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        sys.settrace(interrupt)
        try:
            from_module(nn.Linear(8, 2), (8,))
        except KeyboardInterrupt:
            lines += 1
        else:
            break
        finally:
            sys.settrace(None)
        gc.collect()  # the interrupted frame, of which the exception is a part
        from_module(nn.Linear(8, 2), (8,))  # ends what was left
        assert _dynamo.eval_frame._stance.stance == "default"
    assert lines > 9
