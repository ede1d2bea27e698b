from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX


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
