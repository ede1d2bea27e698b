import xml.etree.ElementTree as ET

import pytest
from matplotlib.image import imread

from pyg_ghn.cli import main


def test_draw_torchvision_and_own_models(tmp_path, capsys, monkeypatch):
    out = tmp_path / "graph.svg"
    main(["draw", "resnet18", "-o", str(out), '--model_args={"num_classes": 7}'])
    assert f"The graph is in {out}." in capsys.readouterr().out
    text = "".join(ET.parse(out).getroot().itertext())
    assert "resnet18: 53 nodes, 60 edges" in text and "7\N{MULTIPLICATION SIGN}512" in text
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_to_draw.py").write_text(
        "from torch import nn\n"
        "def make(width=4):\n    return nn.Sequential(nn.Conv1d(2, width, 3), nn.ReLU())\n"
    )
    out = tmp_path / "graph.svg"
    main(["draw", "own_to_draw:make", f"--out={out}", "--input_size=[2,9]"])
    assert "own_to_draw:make: 3 nodes, 2 edges" in out.read_text()


@pytest.mark.parametrize("name", ["deepnets:test/3", "deepnets:wide/0"])
def test_draw_network_of_deepnets(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["draw", name, "--input_size=[3,64,64]"])
    out = tmp_path / f"{name[9:].replace('/', '-')}.svg"
    assert f"{name}: " in out.read_text() and "cells.0" in out.read_text()


def test_draw_embeddings_and_filters(tmp_path, capsys):
    out = tmp_path / "embeddings.png"
    main(["draw-embeddings", "resnet18", "deepnets:val/1", "-o", str(out), "--method=pca"])
    assert "The node embeddings are in" in capsys.readouterr().out
    pixels = imread(out)
    assert pixels.shape[1] > 1.5 * pixels.shape[0]  # two panels
    out = tmp_path / "filters.svg"
    main(["draw-filters", "resnet18", "-o", str(out), "--model_args", '{"num_classes": 10}'])
    assert f"The filters conv1.weight are in {out}." in capsys.readouterr().out
    assert out.stat().st_size > 1000


def test_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"pyg-ghn draw: .*must end in .svg, .pdf or .png"):
        main(["draw", "resnet18", "--out=graph.gif"])
    with pytest.raises(SystemExit, match=r"draw: .*has no network test/500; splits: train"):
        main(["draw", "deepnets:test/500"])
    assert not list(tmp_path.iterdir())
