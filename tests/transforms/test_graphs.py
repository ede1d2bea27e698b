import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding, RequireAcyclic
from pyg_ghn.transforms.graphs import Graphs


def random_dag(rng, num_nodes, num_edges):
    ends = rng.integers(num_nodes, size=(num_edges, 2))
    edges = {(min(a, b), max(a, b)) for a, b in ends.tolist() if a != b}
    return num_nodes, sorted(edges)


def path(num_nodes):
    return num_nodes, [(i, i + 1) for i in range(num_nodes - 1)]


def ladder(rungs):
    """Chains of 3 nodes beside single nodes, one after the other: the form of a cell."""
    edges = []
    for i in range(0, 5 * rungs, 5):
        edges += [(i, i + 1), (i + 1, i + 2), (i + 2, i + 3), (i, i + 4), (i + 3, i + 5)]
        edges += [(i + 4, i + 5)]
    return 5 * rungs + 1, sorted(edges)


@pytest.fixture(scope="module")
def dags():
    rng = np.random.default_rng(0)
    sparse = [random_dag(rng, n, n + n // 8) for n in (2, 5, 20, 60, 150)]
    dense = [random_dag(rng, n, 4 * n) for n in (3, 12, 50)]
    empty = [(1, []), (4, []), (5, [(1, 3)])]
    return [*sparse, path(1), path(2), path(70), *dense, ladder(1), ladder(30), *empty]


def as_graphs(dags):
    starts = np.cumsum([0] + [n for n, _ in dags])
    edges = [
        np.array(edges, int).reshape(-1, 2).T + start
        for (_, edges), start in zip(dags, starts, strict=False)
    ]
    counts = np.array([len(edges) for _, edges in dags])
    return Graphs(np.array([n for n, _ in dags]), counts, np.concatenate(edges, axis=1))


def as_data(dag):
    num_nodes, edges = dag
    return Data(edge_index=torch.tensor(edges).view(-1, 2).t().long(), num_nodes=num_nodes)


@pytest.mark.parametrize(
    "transform", [AddDegreeEncoding(), AddShortestPathEncoding(), AddShortestPathEncoding(3)]
)
def test_the_same_values_as_one_by_one(dags, transform):
    for group in (dags, dags[:1], dags[-1:], dags[::-1]):
        flat = transform.encode_many(as_graphs(group))
        for name, (values, sizes) in flat.items():
            parts = values.split(sizes.tolist())
            for dag, part in zip(group, parts, strict=True):
                expected = transform(as_data(dag))[name]
                assert part.dtype == expected.dtype
                assert torch.equal(part, expected)


def test_golden_graphs(golden, golden_names):
    graphs = [golden(f"torchvision/{name}") for name in golden_names]
    dags = [(len(graph["nodes"]), sorted(map(tuple, graph["edges"]))) for graph in graphs]
    values, sizes = AddShortestPathEncoding().encode_many(as_graphs(dags))["spd"]
    for graph, lengths in zip(graphs, values.long().split(sizes.tolist()), strict=True):
        longer = lengths[lengths > 1]
        assert [longer.numel(), longer.sum()] == [graph["spd"]["n_gt1"], graph["spd"]["sum_gt1"]]


def test_chains():
    chains = as_graphs([ladder(2), path(4)]).chains
    assert chains.length.tolist() == [1, 3, 1, 1, 3, 1, 1, 4]
    assert chains.position.tolist() == [0, 0, 1, 2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 2, 3]
    assert chains.counts.tolist() == [7, 1]


def test_acyclic_graphs_need_no_check(dags):
    assert RequireAcyclic().encode_many(as_graphs(dags)) == {}
