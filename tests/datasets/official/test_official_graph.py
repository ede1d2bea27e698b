import numpy as np
import pytest

from pyg_ghn.datasets.official_graph import (
    direct_edges,
    mend_inputs,
    mend_stem,
    topological_order,
)
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX

WITH_NORM = ["", "stem0.0.weight", "stem0.1.weight", "stem0.3.weight", "stem0.4.weight"]
WITH_NORM += ["stem1.1.weight", "stem1.2.weight", *(f"cells.0.{i}" for i in range(6))]
WITHOUT = ["", "stem0.0.weight", "stem0.3.weight", "stem1.1.weight"]
WITHOUT += [f"cells.0.{i}" for i in range(6)]


def edges(*pairs):
    return np.array(pairs).T


def pairs(edges):
    return list(map(tuple, edges.T.tolist()))


def ops(*names):
    return np.array([PRIMITIVE_INDEX[name] for name in names], dtype=np.uint8)


def test_direct_edges_have_length_one():
    adj = np.array([[0, 1, 2, 1], [0, 0, 1, 2], [0, 0, 0, 250], [0, 0, 0, 0]], dtype=np.uint8)
    assert pairs(direct_edges(adj, 4)) == [(0, 1), (0, 3), (1, 2)]
    with pytest.raises(DatasetError, match=r"\(4, 4\) does not fit 5 nodes"):
        direct_edges(adj, 5)


@pytest.mark.parametrize(
    ("norm", "names", "stem0", "stem1"), [(True, WITH_NORM, 4, 6), (False, WITHOUT, 2, 3)]
)
def test_edge_of_the_second_stem(norm, names, stem0, stem1):
    first, last = stem1 + 1, stem1 + 4
    wrong = edges((stem0, stem0 + 1), (stem0, first), (stem0, last), (stem1, first + 1), (7, 8))
    right = [(stem0, stem0 + 1), (stem0, first), (stem1, first + 1), (stem1, last), (7, 8)]
    assert pairs(mend_stem(wrong, names, norm)) == right
    assert pairs(wrong)[2] == (stem0, last)  # no change in place
    assert mend_stem(np.array(right).T, names, norm).T.tolist() == list(map(list, right))


@pytest.mark.parametrize(
    "right",
    [
        [(4, 5), (4, 8), (4, 9), (6, 10)],  # the last two are neighbours: a FactorizedReduce
        [(4, 5), (4, 10), (6, 8), (6, 9)],  # the second part has two readers
        [(4, 5), (6, 8)],  # the first part has one
        [(4, 5), (4, 8), (4, 11)],  # the second part has none
    ],
)
def test_stems_that_are_right(right):
    assert pairs(mend_stem(np.array(right).T, WITH_NORM, norm=True)) == right


def test_stem_that_is_cut_off():
    names = [name for name in WITH_NORM if not name.startswith("stem1")]
    wrong = [(4, 5), (4, 8), (6, 7)]
    assert pairs(mend_stem(np.array(wrong).T, names, norm=True)) == wrong


def test_only_joins_have_several_inputs():
    nodes = ops("input", "conv", "bn", "sum", "concat", "cse", "conv", "msa", "glob_avg")
    joins = [(i, j) for j in (3, 4, 5) for i in (0, 1, 2)]
    single = [(0, 1), (0, 2), (1, 6), (2, 7), (5, 8)]
    wrong = sorted([*joins, *single, (1, 2), (4, 6), (5, 6), (6, 7), (7, 8)])
    assert pairs(mend_inputs(np.array(wrong).T, nodes)) == sorted(joins + single)


def test_order_is_kept_where_it_can_be():
    nodes = ops("input", "conv", "pos_enc", "sum", "bn")
    assert topological_order(edges((0, 1), (1, 3), (2, 3), (3, 4)), nodes) is None

    nodes = ops("bn", "pos_enc", "input", "conv", "sum")
    order = topological_order(edges((2, 3), (3, 4), (1, 4), (4, 0)), nodes)
    assert order.tolist() == [2, 1, 3, 4, 0]


@pytest.mark.parametrize(
    ("nodes", "graph", "message"),
    [
        (("conv", "bn"), edges((0, 1)), "0 input nodes"),
        (("input", "input"), edges((0, 1)), "2 input nodes"),
        (("conv", "input"), edges((0, 1)), "node 1, the input, has an incoming edge"),
        (("input", "conv", "bn"), edges((0, 1), (1, 2), (2, 1)), "circle through 2 of its 3 nodes"),
        (("input", "conv"), edges((0, 1), (1, 1)), "circle through 1 of its 2 nodes"),
    ],
)
def test_no_order(nodes, graph, message):
    with pytest.raises(DatasetError, match=message):
        topological_order(graph, ops(*nodes))
