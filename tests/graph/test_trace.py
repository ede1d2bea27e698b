"""Tracing leaves no trace."""

import copy
import itertools
import queue
import random
import sys
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph import from_module


class Stateful(nn.Module):
    """Everything that a forward pass can change, and plain tensors that it needs."""

    def __init__(self, reads_values=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.mask = torch.ones(4, 1, 1)
        self.masks = [torch.ones(4, 1, 1)]
        self.calls = 0
        self.reads_values = reads_values

    def forward(self, x):
        self.calls += 1
        self.last = x
        random.random(), np.random.rand(), torch.rand(3)
        if self.reads_values and float(x.sum()) > 1e9:
            return x
        steps = torch.linspace(0, 1, 4).view(4, 1, 1)  # a factory without a device
        return self.norm(self.conv(x)) * self.mask * self.masks[0] + steps


@pytest.fixture
def alone(monkeypatch):
    """Hides the threads that other tests have left."""
    others = sys._current_frames().keys() - {threading.get_ident()}
    frames = sys._current_frames
    monkeypatch.setattr(
        sys, "_current_frames", lambda: {i: f for i, f in frames().items() if i not in others}
    )


def generator_states():
    python, numpy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    return python, (*numpy[1], *numpy[2:]), tuple(torchs.tolist())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reads_values", [True, False])
def test_nothing_changes(training, reads_values, alone):
    model = Stateful(reads_values).train(training)
    before = copy.deepcopy(model.state_dict())
    parameters = list(model.parameters())
    attributes = model.__dict__.copy()
    x = torch.ones(2, 3, 8, 8)
    states = generator_states()

    data = from_module(model, example_inputs=x)

    assert data.param_name == [None, "conv.weight", "conv.bias", "norm.weight"]
    assert generator_states() == states
    assert model.training is training and model.norm.training is training
    assert model.__dict__ == attributes and torch.equal(x, torch.ones(2, 3, 8, 8))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_generators_are_left_as_they_were_beside_idle_threads(alone):
    end = threading.Event()
    waiting = threading.Thread(target=end.wait, args=(60,), daemon=True)
    waiting.start()
    while sys._current_frames()[waiting.ident].f_code is not threading.Condition.wait.__code__:
        time.sleep(0.001)
    model, states = Stateful(), generator_states()
    from_module(model, (3, 8, 8))
    end.set()
    waiting.join()
    assert generator_states() == states

    def unchanged():
        time.sleep(0.01)  # until the worker waits
        states = generator_states()
        from_module(model, (3, 8, 8))
        return generator_states() == states

    model = Stateful()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert any(unchanged() for _ in range(9))


@pytest.mark.parametrize("reads_values", [True, False])
def test_numbers_that_another_thread_draws_do_not_repeat(reads_values):
    """And what the model draws from torch does not advance its generator."""

    class Draws(Stateful):
        def forward(self, x):
            kernel = nn.init.kaiming_uniform_(torch.empty(2, 2, device="cpu"))
            F.alpha_dropout(kernel, training=True), torch.randn(2, device="cpu"), kernel.normal_()
            F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)
            ask.set()
            answer.wait(60)  # the other thread draws in the midst of the pass
            return super().forward(x)

    def other():
        ask.wait(60)
        drawn.append(random.random())
        answer.set()

    drawn, ask, answer = [], threading.Event(), threading.Event()
    model, states = Draws(reads_values), generator_states()
    threading.Thread(target=other, daemon=True).start()
    from_module(model, (3, 8, 8))
    assert not {random.random() for _ in range(9)} & {*drawn}
    assert generator_states()[2] == states[2]


def test_numbers_that_a_thread_draws_between_two_waits_do_not_repeat(alone):
    """As a worker of a pool does: it waits in the same place before and after."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        drawn = []

        class Draws(Stateful):
            def forward(self, x):
                drawn.append(pool.submit(random.random).result())
                time.sleep(0.01)  # until it waits again
                return super().forward(x)

        from_module(Draws(), (3, 8, 8))
    assert not {random.random() for _ in range(9)} & {*drawn}


ITERATORS = {
    "count": itertools.count,
    "list": lambda: iter([1.0, 2.0, 3.0]),
    "dict": lambda: iter({1.0: "a", 2.0: "b"}),
    "cycle": lambda: itertools.cycle([1.0, 2.0]),
    "chain": lambda: itertools.chain([1.0], [2.0]),
    "map": lambda: map(float, itertools.count()),
    "zip": lambda: map(sum, zip(itertools.count(), itertools.repeat(1), strict=False)),
    "enumerate": lambda: map(sum, enumerate([3, 4])),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
@pytest.mark.parametrize("of_class", [False, True])
def test_iterators_that_a_model_holds_are_not_advanced(make, of_class):
    class Counting(nn.Linear):
        if of_class:
            numbers = make()

        def forward(self, x):
            return super().forward(x) * next(self.numbers)

    model = Counting(4, 2)
    if not of_class:
        model.numbers = make()
    assert from_module(model, (4,)).num_nodes == 3
    assert [next(model.numbers) for _ in range(2)] == [*itertools.islice(make(), 2)]


class Private:
    __slots__ = ("__items",)

    def __init__(self):
        self.__items = []

    def add(self, x):
        self.__items.append(x)

    def __len__(self):
        return len(self.__items)


class Empty:
    pass


MARK = Empty()
HELD = {
    "array": (lambda: array("f"), lambda held, x: held.append(1.0), len),
    "bytes": (bytearray, lambda held, x: held.append(1), len),
    "dict": (dict, lambda held, x: held.update(x=x), len),
    "empty": (Empty, lambda held, x: vars(held).update(x=x), lambda held: len(vars(held))),
    "list": (list, lambda held, x: held.append(x), len),
    "objects": (
        lambda: np.array([[], None], dtype=object),
        lambda held, x: held[0].append(x),
        lambda held: len(held[0]),
    ),
    "private": (Private, lambda held, x: held.add(x), len),
    "queue": (queue.Queue, lambda held, x: held.put(x), lambda held: held.qsize()),
}


@pytest.mark.parametrize("make, change, size", HELD.values(), ids=HELD)
def test_what_a_model_holds_is_not_filled(make, change, size, applied):
    held = make()
    before = size(held)

    def forward(self, x):
        assert self.mark is MARK  # which is no state
        change(self.held[0], x)
        return self.linear(x)

    model = applied(forward, linear=nn.Linear(4, 2), held=[held], mark=MARK)
    assert from_module(model, (4,)).num_nodes == 3
    assert model.held[0] is held and size(held) == before


def test_methods_of_generators_and_attributes_of_a_parameter(
    applied,
):
    model = applied(lambda self, x: self.linear(x) * self.draw(), linear=nn.Linear(4, 2))
    model.draw = random.Random(0).random
    sobol = model.sobol = torch.quasirandom.SobolEngine(4)
    model._forward = lambda self, x: self.linear(x + self.sobol.draw(2)) * self.draw()
    assert from_module(model, (4,)).num_nodes == 3
    assert model.draw() == random.Random(0).random() and sobol.num_generated == 0
    model = applied(lambda self, x: self.linear(x) * self.linear.weight.of["scale"])
    model.linear = nn.Linear(4, 2)
    model.linear.weight.of = {"scale": torch.ones(2)}
    assert from_module(model, (4,)).num_nodes == 3


def test_generators_that_a_model_holds_are_refused_only_where_it_uses_them(applied):
    model = applied(lambda self, x: self.linear(x), linear=nn.Linear(4, 2), numbers=None)
    model.numbers = (n for n in range(3))
    assert from_module(model, (4,)).num_nodes == 3
    model._forward = lambda self, x: self.linear(x) * next(self.numbers)
    with pytest.raises(GraphError, match="generator that it holds"):
        from_module(model, (4,))
    assert next(model.numbers) == 0
    source = random.SystemRandom()
    model = applied(lambda self, x: self.linear(x) * self.of.random(), linear=nn.Linear(4, 2))
    model.of = source
    assert from_module(model, (4,)).num_nodes == 3


def test_failing_and_scripted_models():
    model = Stateful()
    attributes = model.__dict__.copy()
    with pytest.raises(GraphError, match=r"module 'conv' \(Conv2d\)"):
        from_module(model, (5, 8, 8))
    assert model.__dict__ == attributes
    assert not any(t.is_meta for t in model.state_dict().values())
    model = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(GraphError, match=r"scripted module Linear.*without torch.jit.script"):
        from_module(model, (2,))


@pytest.mark.parametrize("reads_values", [True, False])
def test_weights_and_submodules_stay_whatever_the_forward_does(applied, reads_values):
    def forward(self, x):
        if reads_values and float(x.sum()) > 1e9:
            return x
        if not hasattr(self, "head"):
            self.head = nn.Linear(4, 2, device=x.device)
        self.linear.weight.data.clamp_(max=0)
        return self.head(self.linear(x - torch.tensor([1.0, 2, 3, 4]) + self.constants["mean"]))

    model = applied(forward, linear=nn.Linear(4, 4), constants={"mean": torch.ones(4)})
    weight = model.linear.weight.detach().clone()
    data = from_module(model, (4,))
    assert "linear.weight" in data.param_name
    assert torch.equal(model.linear.weight, weight) and not hasattr(model, "head")


def test_models_on_meta_and_constants_made_on_the_way(assert_same_graph):
    real = torchvision.models.resnet18(num_classes=7)
    with torch.device("meta"):
        meta = torchvision.models.resnet18(num_classes=7)
    assert_same_graph(from_module(real), from_module(meta))
    assert all(p.is_meta for p in meta.parameters())
    with torch.device("meta"):
        model = Stateful(reads_values=True)
        data = from_module(model, (3, 8, 8))
    assert data.param_name == [None, "conv.weight", "conv.bias", "norm.weight"]
    assert all(t.is_meta for t in model.state_dict().values()) and not data.x.is_meta

    class Normalized(nn.Conv2d):
        def forward(self, x):
            return super().forward(x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))

    data = from_module(Normalized(3, 4, 3, device="meta"), (3, 8, 8))
    assert data.param_name == [None, "weight", "bias"]


def test_unusual_input_sizes_and_models_without_parameters():
    model = torchvision.models.vit_b_32().half()
    assert from_module(model).num_nodes == 164  # takes 224 from the model
    model.image_size = 192
    with pytest.raises(GraphError):  # the position embedding is one for 224
        from_module(model)
    assert from_module(nn.MaxPool2d(3), (3, 9, 9)).param_shape == [None, (1, 1, 3, 3)]
    assert from_module(nn.Linear(7, 2), 7).num_nodes == 3
    assert from_module(nn.Linear(7, 2), (np.int64(7),)).num_nodes == 3


class Reads(nn.Module):
    def __init__(self, see, **told):
        super().__init__()
        self.see = see
        self.conv = nn.Conv2d(3, 4, 1)
        self.__dict__.update(told)

    def forward(self, x):
        self.see(tuple(x.shape[1:]))
        return self.conv(x)


@pytest.mark.parametrize(
    "told, expected",
    [
        ({}, (3, 224, 224)),
        ({"input_size": (3, 8, 9)}, (3, 8, 9)),
        ({"input_size": 784}, (3, 224, 224)),  # the width of a layer
        ({"image_size": 32}, (3, 32, 32)),
        ({"image_size": (32, 48)}, (3, 32, 48)),
        ({"default_cfg": {"input_size": (3, 24, 24)}}, (3, 24, 24)),
    ],
)
def test_input_size_that_a_model_tells(told, expected):
    seen = []
    from_module(Reads(see=seen.append, **told))
    assert seen == [expected]
