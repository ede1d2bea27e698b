import pytest
import torch
import torchvision
from torch_geometric.data import Data

from pyg_ghn.architectures import network_from_args
from pyg_ghn.graph import PRIMITIVES, from_module


@pytest.fixture(scope="session")
def graph_of(golden):
    """The graph of a torchvision model, or of a network of DeepNets-1M by its number."""
    graphs = {}

    def graph(name):
        if name not in graphs:
            with torch.device("meta"):
                if isinstance(name, int):
                    model = network_from_args(golden("deepnets")[name]["net_args"], device="meta")
                else:
                    options = {"init_weights": False} if name == "googlenet" else {}
                    model = torchvision.models.get_model(name, weights=None, **options)
            graphs[name] = from_module(model)
        return graphs[name]

    return graph


@pytest.fixture(scope="session")
def make_graph():
    """A graph from edges; all nodes are convolutions unless told otherwise."""

    def make(edges, num_nodes, names=None, ops=None):
        names = names or [None] * num_nodes
        return Data(
            x=torch.tensor([[PRIMITIVES.index(op)] for op in ops or ["conv"] * num_nodes]),
            edge_index=torch.tensor(edges, dtype=torch.long).view(-1, 2).t().contiguous(),
            param_name=names,
            param_shape=[(8, 8, 3, 3) if name else None for name in names],
        )

    return make
