import gc
import runpy
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import pytest
from torch import nn

from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.graph.convert import record

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def few_objects():
    """For the tests of thousands of passes, some of which look for cycles of objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def applied():
    class Applied(nn.Module):
        """A module built of parts and applied by a function."""

        def __init__(self, forward, **parts):
            super().__init__()
            self._forward = forward
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, *args, **kwargs):
            return self._forward(self, *args, **kwargs)

    return Applied


@pytest.fixture
def nodes_of():
    def read(data):
        ops = [PRIMITIVES[i] for i in data.x[:, 0].tolist()]
        return list(zip(ops, data.param_name, data.param_shape, strict=True))

    return read


@pytest.fixture
def same_graph(nodes_of):
    """Whether graphs are isomorphic with their (op, parameter, shape) labels but for the kernels of
    pooling. One of the golden files is a dictionary."""

    def as_networkx(data):
        is_golden = isinstance(data, dict)
        graph = nx.DiGraph()
        for i, (op, param, shape) in enumerate(data["nodes"] if is_golden else nodes_of(data)):
            is_pool = op in ("max_pool", "avg_pool")
            label = op, param, None if is_pool or shape is None else tuple(shape)
            graph.add_node(i, label=label)
        edges = data["edges"] if is_golden else data.edge_index.t().tolist()
        graph.add_edges_from(map(tuple, edges))
        return graph

    def same(*graphs):
        graphs = map(as_networkx, graphs)
        return nx.is_isomorphic(*graphs, node_match=lambda a, b: a["label"] == b["label"])

    return same


@pytest.fixture
def names_of(nodes_of):
    """Each node as its parameter's name, or its op where it has none, and the edges between."""

    def read(data):
        labels = [name or op for op, name, _ in nodes_of(data)]
        return labels, {(labels[i], labels[j]) for i, j in data.edge_index.t().tolist()}

    return read


@pytest.fixture(scope="session")
def missing_parameters():
    """The check of the benchmark, which knows nothing of the rules."""
    return runpy.run_path(str(BENCHMARKS / "completeness.py"))["missing_parameters"]


@pytest.fixture
def complete(missing_parameters):
    """Makes a graph of a model and checks that it holds all that it should, once."""

    def check(model, **inputs):
        data = from_module(model, **inputs)
        named = [name for name in (*data.param_name, *data.bias_name) if name]
        assert sorted(named + data.unsupported) == sorted(dict(model.named_parameters()))
        assert len(data.unsupported_reason) == len(data.unsupported)
        assert PRIMITIVES[data.x[0, 0]] == "input" and 0 not in data.edge_index[1]
        assert (data.edge_index[0] < data.edge_index[1]).all()  # acyclic, in topological order
        assert not missing_parameters(record(model, **inputs), data)
        return data

    return check


@pytest.fixture
def see(applied, complete, names_of, nodes_of):
    """Makes the complete graph of a model, or of a function with the parts that it applies."""

    def see(model, input_size=None, example_inputs=None, **parts):
        model = model if isinstance(model, nn.Module) else applied(model, **parts)
        data = complete(model, input_size=input_size, example_inputs=example_inputs)
        labels, edges = names_of(data)
        ops = [op for op, _, _ in nodes_of(data)]
        left = dict(zip(data.unsupported, data.unsupported_reason, strict=True))
        return SimpleNamespace(
            model=model, data=data, labels=labels, edges=edges, ops=ops, left=left
        )

    return see


@pytest.fixture
def left():
    """What has no node, by reason: the last parts of the parameters' names."""

    def by_reason(data):
        reasons = {}
        for name, reason in zip(data.unsupported, data.unsupported_reason, strict=True):
            reasons.setdefault(reason, set()).add(name.rsplit(".", 1)[-1])
        return reasons

    return by_reason


@pytest.fixture(scope="session")
def models_on_meta():
    """A context in which the weights of layers take no memory, as in the benchmark."""
    return runpy.run_path(str(BENCHMARKS / "coverage_models.py"))["LayersOnMeta"]
