import numpy as np
import pytest

from pyg_ghn.architectures import SPLITS, network_from_args, network_graph, sample_net_args
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.architectures.plan_graph import plan_graph
from pyg_ghn.graph import PRIMITIVES, from_module

SIZES = [(3, 32, 32), (1, 8, 8), (3, 224, 224)]


@pytest.fixture
def assert_traced(assert_same_graph):
    def check(net_args, size=(3, 32, 32), **width):
        network = network_from_args(net_args, 7, size, device="meta", **width)
        found, expected = network_graph(net_args, 7, size, **width), from_module(network, size)
        assert found.keys() == expected.keys()
        assert_same_graph(found, expected)

    return check


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("split", SPLITS)
def test_graphs_are_those_of_the_networks(split, size, assert_traced):
    rng = np.random.default_rng(7)
    for width in ({}, {"C": 48, "fc_dim": 128}) * 2:
        assert_traced(sample_net_args(split, rng), size, **width)


def test_only_a_last_pixel_needs_a_trace(monkeypatch):
    net_args = sample_net_args("train", np.random.default_rng(0))
    monkeypatch.setattr("pyg_ghn.architectures.plan_graph.from_module", lambda *args: "traced")
    assert network_graph(net_args, 10, (3, 32, 32)) != "traced"
    assert network_from_args(net_args, 10, (3, 8, 8), "meta").plan.sizes[1] == (1, 1)
    assert network_graph(net_args, 10, (3, 8, 8)) == "traced"


ONE = {"normal_concat": [2], "reduce_concat": [2]}
LATEST = {"normal": [["conv_1x1", 1], ["none", 0]], "reduce": [["cse", 1], ["none", 0]], **ONE}
SECOND_LATEST = {**LATEST, "normal": [["conv_1x1", 0], ["none", 1]]}
SKIPS = {"normal": [["skip_connect", 0], ["skip_connect", 1]], "reduce": [["msa", 0], ["cse", 1]]}
SKIPS |= ONE
LEFT_OUT = {
    "normal": [["conv_3x3", 0], ["none", 1], ["none", 0], ["none", 2], ["cse", 2], ["msa", 1]],
    "normal_concat": [2, 3, 4],
    "reduce": [
        *(["skip_connect", 0], ["none", 1], ["max_pool_3x3", 2], ["skip_connect", 1]),
        *(["sep_conv_3x3", 2], ["dil_conv_5x5", 0]),
    ],
    "reduce_concat": [2, 4],
}
CNN_LEFT_OUT = {**LEFT_OUT, "normal": [*LEFT_OUT["normal"][:5], ["conv_7x1_1x7", 1]]}


@pytest.mark.parametrize(
    "net_args",
    [
        {"genotype": LATEST, "n_cells": 4, "norm": None},
        {"genotype": LATEST, "n_cells": 4, "stem_type": 1},
        # every other cell is cut off, the stem's second output too
        {"genotype": SECOND_LATEST, "n_cells": 5, "stem_type": 1},
        {"genotype": SECOND_LATEST, "n_cells": 1, "stem_type": 1},
        # twice the same is nothing to add
        {"genotype": SKIPS, "n_cells": 3, "preproc": False},
        {"genotype": LEFT_OUT, "n_cells": 3, "fc_layers": 3, "glob_avg": False},
        {"genotype": CNN_LEFT_OUT, "n_cells": 3, "norm": "bn-track", "stem_type": 1},
        {"genotype": CNN_LEFT_OUT, "n_cells": 3, "stem_pool": True, "glob_avg": False},
    ],
)
def test_unusual_networks(net_args, assert_traced):
    assert_traced(net_args)


def test_official_format(golden):
    for net in golden("deepnets"):
        graph = plan_graph(NetworkPlan(**network_arguments(net["net_args"])))
        assert len(graph.ops) == net["meta"]["num_nodes"]
        assert {name for name in graph.param_names if name} == set(net["names"])
        assert PRIMITIVES[graph.ops[0]] == "input"
