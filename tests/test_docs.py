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


def test_edge_features_as_bias(namespace):
    graphs = namespace["FakeDataset"](num_graphs=3, avg_num_nodes=8, edge_dim=3)
    encode = namespace["AddShortestPathEncoding"](20)
    (batch,) = namespace["DataLoader"]([encode(namespace["add_pairs"](g)) for g in graphs], 3)
    path_bias, pair_bias = namespace["ShortestPathBias"](4, 16, 20), namespace["PairBias"](3, 4)
    bias = namespace["both_biases"](path_bias, pair_bias, batch)
    source, target = graphs[0].edge_index[:, 0]
    expected = path_bias(batch)[0][0, :, source, target] + pair_bias.lin(graphs[0].edge_attr[0])
    assert torch.allclose(bias[0][0, :, source, target], expected, atol=1e-5)
