"""Code in the documentation runs."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def namespace():
    """All code of ghn3conv.md, run from top to bottom."""
    text = (DOCS / "ghn3conv.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)
    return names


def test_network(namespace):
    assert namespace["out"].shape == (10, namespace["dataset"].num_classes)


def test_layer_with_messages(namespace):
    batch = namespace["batch"]
    attn_bias = namespace["ShortestPathBias"](4, 16, 20)(batch.spd, batch.batch)
    x, edge_attr = torch.randn(batch.num_nodes, 16), torch.randn(batch.num_edges, 3)
    out = namespace["Layer"](16, 3, heads=4)(x, batch.edge_index, edge_attr, batch.batch, attn_bias)
    assert out.shape == x.shape
