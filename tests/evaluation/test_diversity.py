import math
from itertools import permutations

import pytest
import torch
from torch import nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import diversity, effective_rank, layer_statistics
from pyg_ghn.initializers import orthogonal


def distance(a, b):
    dot = sum(x * y for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    return 1 - dot / math.sqrt((a**2).sum().item() * (b**2).sum().item())


def test_all_pairs_of_a_shape():
    networks = [
        {"a": torch.randn(2, 3), "b": torch.randn(2, 3), "bias": torch.randn(2)},
        {"a": torch.randn(2, 3), "c": torch.randn(4, 3), "bias": torch.randn(2)},
    ]
    a, b, c = networks[0]["a"], networks[0]["b"], networks[1]["a"]
    expected = (distance(a, b) + distance(a, c) + distance(b, c)) / 3
    assert diversity(networks) == {(2, 3): (pytest.approx(expected), 3)}
    biases = diversity(iter(networks), [[2]])
    assert biases == {(2,): (pytest.approx(distance(networks[0]["bias"], networks[1]["bias"])), 2)}


def test_same_opposite_zero_and_what_has_no_distance():
    a = torch.randn(3, 2, 2, 2)
    for other, expected in ((2 * a, 0), (-a, 2), (torch.zeros_like(a), 1)):
        found = diversity([{"w": a}, {"w": other}])[3, 2, 2, 2].distance
        assert found == pytest.approx(expected, abs=1e-12)
    assert diversity([]) == diversity([{"w": torch.ones(2, 2)}]) == {}
    with pytest.raises(ConfigError, match=r"two tensors of shape \(2, 2\), got 1"):
        diversity([{"w": torch.ones(2, 2)}], [(2, 2)])
    with pytest.raises(ConfigError, match="'w', of shape"):
        diversity([{"w": torch.tensor([[math.nan, 1], [0, 1]])}])


def test_matching_finds_the_best_order():
    a, b = torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    found = diversity([{"w": a}, {"w": b}], match=True)[5, 2, 3].distance
    best = min(distance(a, b[list(order)]) for order in permutations(range(5)))
    assert found == pytest.approx(best) and best < distance(a, b)
    shuffled = diversity([{"w": a}, {"w": a[torch.randperm(5)]}], match=True)
    assert shuffled[5, 2, 3].distance == pytest.approx(0, abs=1e-12)


def test_effective_rank():
    assert effective_rank(torch.eye(6)) == pytest.approx(6)
    assert effective_rank(orthogonal(torch.randn(4, 3, 3, 3))) == pytest.approx(4, rel=1e-5)
    assert effective_rank(torch.ones(5, 2, 3, 3)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    assert effective_rank(torch.zeros(3, 3)) == 1
    assert math.isnan(effective_rank(torch.full((2, 2), math.inf)))
    weight = torch.randn(20, 5, 3, 3)
    shares = torch.linalg.svdvals(weight.flatten(1).double())
    shares = shares / shares.sum()
    expected = math.exp(-sum(p * math.log(p) for p in shares.tolist()))
    assert effective_rank(weight) == pytest.approx(expected)
    assert effective_rank(weight, relative=True) == pytest.approx(1, abs=0.03)
    assert effective_rank(weight[:10].repeat(2, 1, 1, 1), relative=True) < 0.6


def test_layer_statistics():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(32, 32, 3) for _ in range(4)), nn.BatchNorm2d(32), nn.Linear(128, 64)
    )
    state = torch.get_rng_state()
    found = layer_statistics(dict(net.named_parameters()), {"5.weight", "5.bias"})
    assert torch.equal(state, torch.get_rng_state())
    assert found["rank"] == pytest.approx(1, abs=0.01)
    assert found["cosine"] == pytest.approx(0, abs=0.02)
    assert found["scale"] == pytest.approx(6**-0.5, rel=0.01)
    assert found["class_scale"] == pytest.approx(6**-0.5, rel=0.02)
    params = {
        "a": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
        "b": torch.tensor([[0.0, 1.0], [0.0, 1.0]]),
        "c": torch.ones(3, 2),
        "bias": torch.ones(7),
        "rows": torch.ones(1, 7),
        "columns": torch.ones(7, 1, 1, 1),
    }
    found = layer_statistics(params, {"c", "bias"})
    assert found["cosine"] == pytest.approx(4 / (5 * math.sqrt(2)))
    assert found["scale"] == pytest.approx((math.sqrt(25 / 4) + math.sqrt(2 / 4)) / 2)
    assert found["class_scale"] == pytest.approx(1)
    ranks = [effective_rank(params[name], relative=True) for name in "ab"]
    assert found["rank"] == pytest.approx(sum(ranks) / 2)
    assert layer_statistics({"bias": torch.ones(3)}) == {}
    assert "cosine" not in layer_statistics({"a": params["a"], "c": params["c"]})
    assert layer_statistics({"a": torch.full((2, 2), math.nan)})["rank"].isnan()
