from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX

# The golden graphs leave out the kernels of pooling; 2 and 3 have the same embedding.
POOLING = {"max_pool": (1, 1, 3, 3), "avg_pool": (1, 1, 2, 2)}


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ]
)
def device(request):
    """Every device that this machine has."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def tiny():
    """GHNs of 16 channels for 10 classes with random parameters: ghn3_tiny and ghn2_tiny."""
    folder = Path(__file__).parents[1] / "golden" / "predictions"
    return {name: from_pretrained(folder / f"{name}.pt") for name in ("ghn3_tiny", "ghn2_tiny")}


@pytest.fixture(scope="session")
def ghn(tiny):
    """A GHN-3 with 2 layers."""
    return tiny["ghn3_tiny"]


@pytest.fixture(scope="session")
def golden_graph(golden, tiny):
    """Gives a torchvision network with 10 classes, encoded for a GHN, and its golden parameters."""

    def read(name, tag="ghn3_tiny"):
        graph = golden(f"torchvision/{name}")
        graph = graph.get("eval", graph)
        params = golden(f"predictions/pred_{tag}/{name}")["params"]
        names, shapes, bias_names = [], [], []
        for op, param, shape in graph["nodes"]:
            shape = params[param]["shape"] if param in params else shape
            bias = param and param.removesuffix("weight") + "bias"
            names.append(param)
            shapes.append(POOLING.get(op) or (tuple(shape) if shape else None))
            bias_names.append(bias if op in ("bn", "ln") and bias in params else None)
        data = Data(
            x=torch.tensor([[PRIMITIVE_INDEX[op]] for op, _, _ in graph["nodes"]]),
            edge_index=torch.tensor(graph["edges"]).t().contiguous(),
            param_name=names,
            param_shape=shapes,
            bias_name=bias_names,
        )
        return tiny[tag].transform(data), params

    return read


@pytest.fixture
def make_graph(tiny):
    """Makes a chain of nodes (op, name, shape[, bias name]) with the encodings of all GHNs; the
    input comes first."""

    def make(*nodes):
        nodes = [("input", None, None), *nodes]
        ends = torch.arange(len(nodes))
        data = Data(
            x=torch.tensor([[PRIMITIVE_INDEX[node[0]]] for node in nodes]),
            edge_index=torch.stack([ends[:-1], ends[1:]]),
            param_name=[node[1] for node in nodes],
            param_shape=[node[2] for node in nodes],
            bias_name=[node[3] if len(node) > 3 else None for node in nodes],
        )
        for ghn in tiny.values():
            data = ghn.transform(data)
        return data

    return make
