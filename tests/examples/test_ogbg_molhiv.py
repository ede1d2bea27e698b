import importlib.util
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.utils import to_undirected

pytest.importorskip("ogb")
PATH = Path(__file__).parents[2] / "examples" / "ogbg_molhiv.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("ogbg_molhiv", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def molecules(count):
    """Rings of atoms and chains, with the attributes of the real data set; rings are active."""
    for i in range(count):
        n, ring = 6 + i % 4, i % 2
        nodes = torch.arange(n)
        edges = torch.stack([nodes, (nodes + 1) % n])[:, : n if ring else n - 1]
        x = torch.zeros(n, 9, dtype=torch.long)
        y = torch.tensor([[ring]])
        yield Data(x=x, edge_index=to_undirected(edges), edge_attr=None, y=y)


def test_learns_rings_from_chains(script):
    torch.manual_seed(0)
    graphs = [script.encode(graph) for graph in molecules(32)]
    loader = DataLoader(graphs, batch_size=16, shuffle=True)
    model = script.GraphTransformer(channels=16, num_layers=2, heads=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = [script.train(model, loader, optimizer) for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]
    evaluator = script.Evaluator("ogbg-molhiv")
    assert script.evaluate(model, loader, evaluator) > 0.95
