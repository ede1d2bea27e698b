"""Explanations of models with GHN3Conv, as docs/ghn3conv.md has them."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GINConv, global_mean_pool
from torch_geometric.utils import to_undirected

from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

encode = AddShortestPathEncoding(20)


class Model(nn.Module):
    def __init__(self, messages=False):
        super().__init__()
        self.local = GINConv(nn.Linear(4, 4)) if messages else None
        self.path_bias, self.conv = ShortestPathBias(2, 8, 20), GHN3Conv(4, 2)

    def forward(self, x, edge_index=None, spd=None):
        data, batch = x, None
        if isinstance(data, Data):
            x, edge_index, spd, batch = data.x, data.edge_index, data.spd, data.get("batch")
        if self.local is not None:
            x = self.local(x, edge_index)
        return global_mean_pool(self.conv(x, None, self.path_bias(spd, batch)), batch)


def path():
    """A ring of four with a tail: without an edge of the tail, nodes are out of reach."""
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0], [3, 4], [4, 5]]).t()
    return encode(Data(x=torch.randn(6, 4), edge_index=to_undirected(edges)))


def explain(model, data, **masks):
    explainer = Explainer(
        model.eval(),
        GNNExplainer(epochs=5),
        explanation_type="model",
        model_config={"mode": "regression", "task_level": "graph", "return_type": "raw"},
        **masks,
    )
    return explainer(data.x, data.edge_index, spd=data.spd)


def test_masks_of_nodes():
    data = path()
    mask = explain(Model(), data, node_mask_type="attributes").node_mask
    assert mask.shape == (6, 4) and mask.isfinite().all() and mask.any()


def test_masks_of_edges_are_for_messages():
    data, masks = path(), {"node_mask_type": "attributes", "edge_mask_type": "object"}
    assert explain(Model(messages=True), data, **masks).edge_mask.any()
    with pytest.raises(ValueError, match="Could not compute gradients for edges"):
        explain(Model(), data, **masks)


def test_importance_of_edges():
    text = (Path(__file__).parents[2] / "docs" / "ghn3conv.md").read_text()
    (code,) = re.findall(r"```python\n([^`]*def edge_importance.*?)```", text, re.S)
    namespace = {"torch": torch}
    exec(code, namespace)
    model, data = Model().eval(), path()
    importance = namespace["edge_importance"](model, data, encode)
    assert importance.shape == (12,) and (importance > 0).all()
    (back,) = torch.where((data.edge_index == data.edge_index[:, :1].flip(0)).all(dim=0))
    assert torch.isclose(importance[0], importance[back])  # both directions go at once
    fewer = Data(x=data.x, edge_index=data.edge_index[:, data.edge_index.min(dim=0).values < 4])
    last = importance[(data.edge_index == 5).any(dim=0)]
    expected = (model(encode(fewer)) - model(data)).norm()
    assert torch.allclose(last, expected.expand(2), atol=1e-5)
    blind = Model()
    nn.init.zeros_(blind.path_bias.phi[2].weight)
    assert not namespace["edge_importance"](blind.eval(), data, encode).gt(1e-5).any()
