import networkx as nx
import pytest

from pyg_ghn.graph import PRIMITIVES


@pytest.fixture
def as_networkx():
    """A graph with (op, parameter, shape) labels; pooling kernels carry no label."""

    def convert(nodes, edges):
        graph = nx.DiGraph()
        for index, (op, param, shape) in enumerate(nodes):
            is_pool = op in ("max_pool", "avg_pool")
            label = (op, param, None if is_pool or shape is None else tuple(shape))
            graph.add_node(index, label=label)
        graph.add_edges_from(map(tuple, edges))
        return graph

    return convert


@pytest.fixture
def nodes_of():
    def read(data):
        ops = [PRIMITIVES[i] for i in data.x[:, 0].tolist()]
        return list(zip(ops, data.param_name, data.param_shape, strict=True))

    return read


@pytest.fixture
def names_of(nodes_of):
    """Each node as its parameter's name, or its op where it has none, and the edges between."""

    def read(data):
        labels = [name or op for op, name, _ in nodes_of(data)]
        return labels, {(labels[i], labels[j]) for i, j in data.edge_index.t().tolist()}

    return read
