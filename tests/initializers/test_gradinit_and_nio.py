"""GradInit and NIO against slow versions with a network and an Adam of their own: one scalar at a
time, in plain Python."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.errors import ConfigError, DivergedError
from pyg_ghn.initializers import initialize_gradinit, initialize_nio


def build(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 5, 3, stride=2, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    ).double()
    nn.init.normal_(model[4].bias)
    return model


def run(p, x):
    """The same network, written out."""

    def norm(x, weight, bias):
        mean = x.mean((0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]

    x = F.conv2d(x, p["0.weight"], p["0.bias"], padding=1)
    x = F.conv2d(norm(x, p["1.weight"], p["1.bias"]).relu(), p["3.weight"], stride=2)
    x = norm(x, p["4.weight"], p["4.bias"]).relu().mean((2, 3))
    return x @ p["9.weight"].T + p["9.bias"]


def losses(p, x, y):
    return -torch.log_softmax(run(p, x), 1)[torch.arange(len(y)), y]


def batches(number, size=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(number, size, 3, 6, 6, generator=generator, dtype=torch.float64)
    return list(zip(x, torch.randint(3, (number, size), generator=generator), strict=True))


def slow(model, iterations, lr, objective):
    """Scalars after some steps, how often the constraint held and slopes were clipped."""
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    scales = dict.fromkeys(initial, 1.0)
    first = {(name, kind): 0.0 for name in initial for kind in (0, 1)}
    second, count = dict.fromkeys(initial, 0.0), dict.fromkeys(first, 0)
    constrained = clipped = 0
    for step in range(iterations):
        leaves = {
            n: torch.tensor(a, dtype=torch.float64, requires_grad=True) for n, a in scales.items()
        }
        value, kind = objective({n: leaves[n] * initial[n] for n in initial}, step)
        constrained += kind
        slopes = torch.autograd.grad(value, [*leaves.values()])
        for name, slope in zip(leaves, map(float, slopes), strict=True):
            if initial[name].norm() == 0 or scales[name] == 0:
                continue
            clipped += abs(slope) > 1
            slope = max(-1.0, min(1.0, slope))
            count[name, kind] += 1
            first[name, kind] = 0.9 * first[name, kind] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            m = first[name, kind] / (1 - 0.9 ** count[name, kind])
            v = second[name] / (1 - 0.999 ** (count[name, 0] + count[name, 1]))
            scale = scales[name] - lr * m / (math.sqrt(v) + 1e-8)
            scales[name] = max(scale, 0.0 if name.endswith("bias") else 0.01)
    return scales, constrained, clipped


def slow_gradinit(model, data, optimizer, eta, gamma, iterations, lr):
    data = iter(data * iterations)

    def objective(p, step):
        (x0, y0), (x1, y1) = next(data), next(data)
        loss = losses(p, torch.cat([x0, x1]), torch.cat([y0, y1])).mean()
        grads = dict(
            zip(p, torch.autograd.grad(loss, [*p.values()], create_graph=True), strict=True)
        )
        flat = torch.cat([g.flatten() for g in grads.values()])
        norm = flat.norm(p=2 if optimizer == "sgd" else 1)
        if norm > gamma:
            return norm, 1
        (x2, y2), moved = next(data), {}
        for name, g in grads.items():
            direction = g / norm if optimizer == "sgd" else torch.sign(g)
            moved[name] = p[name] - eta * direction.detach()
        return losses(moved, torch.cat([x0, x2]), torch.cat([y0, y2])).mean() / eta, 0

    return slow(model, iterations, lr, objective)


def slow_nio(model, data, gamma, iterations, lr):
    parts = [slice(0, 9), slice(6, 19), slice(12, 28), slice(19, None)]  # of 32, by hand
    names = [n for n, _ in model.named_parameters() if n[0] not in "14"]  # no BatchNorm

    def objective(p, step):
        each = losses(p, *data[step % len(data)])
        grads = []
        for part in parts:
            g = torch.autograd.grad(each[part].mean(), [p[n] for n in names], create_graph=True)
            grads.append(torch.cat([value.flatten() for value in g]))
        norms = [g.norm() for g in grads]
        if sum(norms) / 4 > gamma:
            return sum(norms) / 4, 1
        pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
        cosines = [F.cosine_similarity(grads[i], grads[j], dim=0) for i, j in pairs]
        return -sum(cosines) / 12 - sum(norms), 0

    return slow(model, iterations, lr, objective)


def scalars(model, before):
    """By what each parameter tensor was multiplied, all of its elements alike."""
    found = {}
    for name, p in model.named_parameters():
        ratio = (p.detach() / before[name])[before[name] != 0]
        found[name] = float(ratio[0]) if len(ratio) else 1.0
        torch.testing.assert_close(p.detach(), found[name] * before[name], rtol=1e-12, atol=0)
    return found


def assert_agree(model, before, expected):
    found = scalars(model, before)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-7), name
    return found


@pytest.mark.parametrize(
    "optimizer, eta, gamma, lr",
    [("sgd", 0.1, 1.0, 0.05), ("adam", 0.02, 2.0, 0.05), ("sgd", 0.1, 0.35, 0.5)],
)
def test_gradinit_is_that_of_the_paper(optimizer, eta, gamma, lr):
    model, data = build(), batches(7)
    with torch.no_grad():
        model[9].weight.mul_(6)
    before = copy.deepcopy(model.state_dict())
    expected, constrained, clipped = slow_gradinit(model, data, optimizer, eta, gamma, 20, lr)
    assert 3 <= constrained <= 17 and clipped > 0  # both objectives, and the bound of slopes
    initialize_gradinit(model, data, optimizer, iterations=20, lr=lr, eta=eta, gamma=gamma)
    found = assert_agree(model, before, expected)
    assert found["1.bias"] == 1.0  # zeros
    assert max(abs(value - 1) for value in found.values()) > 0.1
    if lr == 0.5:
        assert 0.01 in found.values()  # the lower bound


def test_nio_is_that_of_the_paper():
    model, data = build(), batches(3, size=32)
    before = copy.deepcopy(model.state_dict())
    expected, constrained, clipped = slow_nio(model, data, 0.6, 20, 0.02)
    assert 3 <= constrained <= 17 and clipped > 0
    initialize_nio(model, data, iterations=20, lr=0.02, gamma=0.6)
    assert_agree(model, before, expected)


def test_gradinit_brings_a_large_gradient_within_its_bound():
    model, data = build(), batches(4, size=32)
    with torch.no_grad():
        model[9].weight.mul_(30)

    def norm():
        p = dict(model.named_parameters())
        loss = losses(p, *map(torch.cat, zip(*data, strict=True))).mean()
        return float(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*p.values()])]).norm()
        )

    assert norm() > 6
    initialize_gradinit(model, data, iterations=60)
    assert norm() < 1


class OnlyOnce(nn.Module):
    """Its backward pass is an operation that has none."""

    def forward(self, x):
        return torch.ops.aten.hardsigmoid(x)


@pytest.mark.parametrize("initialize", [initialize_gradinit, initialize_nio])
class TestBoth:
    def test_nothing_else_is_touched(self, initialize):
        model, data = build(), batches(4)
        model.train()
        model[4].eval()
        model[0].weight.requires_grad_(False)
        model[9].bias.grad = torch.ones(3, dtype=torch.float64)
        tracking = [m.track_running_stats for m in model if isinstance(m, nn.BatchNorm2d)]
        modes = [m.training for m in model.modules()]
        before = copy.deepcopy(model.state_dict())
        state = torch.get_rng_state()
        with torch.no_grad():
            assert initialize(model, data, iterations=3) is model
        assert torch.equal(torch.get_rng_state(), state)
        assert [m.training for m in model.modules()] == modes
        assert tracking == [m.track_running_stats for m in model if isinstance(m, nn.BatchNorm2d)]
        assert torch.equal(model[9].bias.grad, torch.ones(3, dtype=torch.float64))
        assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["0.weight"]
        changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
        scaled = {"1.weight", "3.weight", "4.weight", "4.bias", "9.weight", "9.bias"}
        # A bias in front of BatchNorm makes no difference but for rounding.
        assert scaled <= changed <= scaled | {"0.bias"}

    def test_one_linear_layer_in_float32(self, initialize):
        torch.manual_seed(0)
        model = nn.Linear(6, 3)
        before = copy.deepcopy(model.state_dict())
        pair = (torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3)
        initialize(model, pair, iterations=2, lr=0.01)
        ratios = scalars(model, before)
        assert model.weight.dtype is torch.float32
        # Slopes of one sign make steps of the size of the learning rate.
        assert all(0.005 < abs(ratio - 1) < 0.0201 for ratio in ratios.values())

    def test_attention(self, initialize):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.Sequential(nn.Unflatten(1, (3, 8)), layer, nn.Flatten(), nn.Linear(24, 3))
        before = layer.self_attn.in_proj_weight.detach().clone()
        initialize(model, (torch.randn(8, 24), torch.arange(8) % 3), iterations=2)
        assert not torch.equal(layer.self_attn.in_proj_weight, before)

    def test_activations_without_a_second_derivative(self, initialize):
        class Written(nn.Module):
            def forward(self, x):
                return (x + 3).clamp(0, 6) / 6

        found = []
        for activation in (nn.Hardsigmoid(), Written()):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(6, 8), activation, nn.Linear(8, 3)).double()
            pair = (torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3)
            found.append(initialize(model, pair, iterations=3, lr=0.1)[0].weight)
        torch.testing.assert_close(*found)
        model = nn.Sequential(nn.Linear(6, 3), OnlyOnce())
        with pytest.raises(ConfigError, match="can't be differentiated twice"):
            initialize(model, pair, gamma=0.0)

    def test_norm_of_zeros(self, initialize):
        class Normalized(nn.Module):
            def forward(self, x):
                return F.normalize(x, dim=1)

        model = nn.Sequential(nn.Linear(6, 3, bias=False), Normalized())
        pair = (torch.randn(8, 6), torch.arange(8) % 3)
        pair[0][3] = 0
        with pytest.raises(DivergedError, match=r"no numbers by 0\.weight"):
            initialize(model, pair, gamma=0.0)

    @pytest.mark.parametrize("place", ["images", "parameter"])
    def test_not_finite(self, initialize, place):
        model, data = build(), batches(4)
        if place == "images":
            data[3][0][0] = math.nan
        else:
            with torch.no_grad():
                model[9].weight[0, 0] = math.inf
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(DivergedError, match="The model is as it was"):
            initialize(model, data, iterations=4)
        assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())

    def test_bad_input(self, initialize):
        model, data = build(), batches(4)
        for arguments, message in (
            ((build().requires_grad_(False), data), "no parameters that require"),
            ((model, []), "no more batches"),
            ((model, iter(data)), "no more batches"),
            ((model, [(x, y + 7) for x, y in data]), r"shape \(3,\).* label \d"),
        ):
            with pytest.raises(ConfigError, match=message):
                initialize(*arguments, iterations=5)
        with pytest.raises(ConfigError, match="lr must be"):
            initialize(model, data, lr=0.0)


def test_options_out_of_range():
    with pytest.raises(ConfigError, match="sgd or adam"):
        initialize_gradinit(build(), batches(2), "lion")
    with pytest.raises(ConfigError, match="chunks must be 2"):
        initialize_nio(build(), batches(2), chunks=1)
    with pytest.raises(ConfigError, match="batch of 3 has no 4 chunks"):
        initialize_nio(build(), batches(2, size=3))
