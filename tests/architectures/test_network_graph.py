import numpy as np
import pytest
import torch

from pyg_ghn.architectures import SPLITS, network_from_args, network_graph, sample_net_args
from pyg_ghn.graph import from_module

SIZES = [(3, 32, 32), (1, 8, 8), (3, 224, 224)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("split", SPLITS)
def test_same_as_traced(split, size):
    rng = np.random.default_rng(7)
    for i in range(4):
        net_args = sample_net_args(split, rng)
        width = {"C": 48, "fc_dim": 128} if i % 2 else {}
        network = network_from_args(net_args, 7, size, device="meta", **width)
        found, expected = network_graph(net_args, 7, size, **width), from_module(network, size)
        assert found.keys() == expected.keys()
        for name, value in expected:
            same = torch.equal if isinstance(value, torch.Tensor) else list.__eq__
            assert same(found[name], value), name


def test_only_a_last_pixel_needs_a_trace(monkeypatch):
    net_args = sample_net_args("train", np.random.default_rng(0))
    monkeypatch.setattr("pyg_ghn.architectures.plan_graph.from_module", lambda *args: "traced")
    assert network_graph(net_args, 10, (3, 32, 32)) != "traced"
    assert network_from_args(net_args, 10, (3, 8, 8), "meta").plan.sizes[1] == (1, 1)
    assert network_graph(net_args, 10, (3, 8, 8)) == "traced"
