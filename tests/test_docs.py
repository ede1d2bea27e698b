"""Code in the documentation runs."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def run_blocks(page):
    """The names that the Python blocks of a page make, which build on each other."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    return names


def test_prediction(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks("docs/prediction.md")
    printed = capsys.readouterr().out.splitlines()
    assert "repeated 9 x 3 times (out x in)" in printed
    assert printed[-6] == "predicted: 5 of 5 parameters, 3,122 of 3,122 values"
    text = (ROOT / "docs" / "prediction.md").read_text()
    assert "\n".join(printed[-6:]) in text  # what the page says it prints


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run_blocks("README.md")
    assert scope["x"].shape == (scope["batch"].num_nodes, 64)


def test_ghn3conv():
    names = run_blocks("docs/ghn3conv.md")
    assert names["out"].shape == (10, names["dataset"].num_classes)
    batch, path_bias = names["batch"], names["ShortestPathBias"](4, 16, 20)
    x, edge_attr = torch.randn(batch.num_nodes, 16), torch.randn(batch.num_edges, 3)
    layer, attn_bias = names["Layer"](16, 3, heads=4), path_bias(batch.spd, batch.batch)
    assert layer(x, batch.edge_index, edge_attr, batch.batch, attn_bias).shape == x.shape
    # Features of edges as a bias
    graphs = names["FakeDataset"](num_graphs=3, avg_num_nodes=8, edge_dim=3)
    encode = names["AddShortestPathEncoding"](20)
    (batch,) = names["DataLoader"]([encode(names["add_pairs"](g)) for g in graphs], 3)
    pair_bias = names["PairBias"](3, 4)
    bias = names["both_biases"](path_bias, pair_bias, batch)
    source, target = graphs[0].edge_index[:, 0]
    expected = path_bias(batch)[0][0, :, source, target] + pair_bias.lin(graphs[0].edge_attr[0])
    assert torch.allclose(bias[0][0, :, source, target], expected, atol=1e-5)
