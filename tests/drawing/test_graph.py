import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from matplotlib.image import imread
from torch import nn
from torch_geometric.data import Batch

from pyg_ghn.drawing import draw_graph
from pyg_ghn.errors import ConfigError, GHNError, GraphError


@pytest.mark.parametrize("name", ["resnet50", 11])
def test_svg_draws_each_node_once(name, graph_of, tmp_path):
    graph = graph_of(name)
    svg = draw_graph(graph, tmp_path / "graph.svg").read_text()
    assert svg == draw_graph(graph, tmp_path / "again.svg").read_text() and len(svg) < 400_000
    ids = re.findall(r'id="(n\d+|legend-\w+|e\d+-\d+)"', svg)
    assert len(ids) == len(set(ids)) == graph.num_nodes + graph.num_edges + len(graph.x.unique())
    assert f"{graph.num_nodes} nodes, {graph.num_edges} edges" in svg
    titles = [title.text for title in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == graph.num_nodes
    conv = next(i for i, name in enumerate(graph.param_name) if name)
    assert titles[conv].startswith(f"{conv}: conv {graph.param_name[conv]} ")


def test_png_and_pdf_of_bounded_resolution(graph_of, tmp_path, monkeypatch):
    pixels = imread(draw_graph(graph_of("resnet18"), tmp_path / "new" / "graph.PNG"))
    assert 800 < max(pixels.shape[:2]) < 2000 and 0.5 < pixels[..., :3].mean() < 0.99
    pdf = draw_graph(graph_of("resnet18"), tmp_path / "graph.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and pdf.rstrip().endswith(b"%%EOF")
    monkeypatch.setattr("pyg_ghn.drawing.graph.MAX_PIXELS", 600)
    pixels = imread(draw_graph(graph_of("resnet50"), tmp_path / "graph.png"))
    assert 560 < max(pixels.shape[:2]) < 640


class Tiny(nn.Module):
    input_size = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def test_models_instead_of_graphs_and_names_with_special_characters(tmp_path, make_graph):
    assert "Tiny: 3 nodes, 2 edges" in draw_graph(Tiny(), tmp_path / "graph.svg").read_text()
    names = [None, 'a"b\\n<c>|{d}&.weight', "$x_1$.weight"]
    graph = make_graph([(0, 1), (1, 2)], 3, names, ["input", "conv", "bn"])
    path = draw_graph(graph, tmp_path / "graph.svg", 'a "title"')
    text = "".join(ET.parse(path).getroot().itertext())
    assert 'a"b' in text and "$x_1$" in text


@pytest.mark.parametrize("name", ["graph.gif", "graph", "graph.svg.bak"])
def test_unknown_kind_of_file(name, tmp_path, make_graph):
    with pytest.raises(ConfigError, match=r"must end in \.svg, \.pdf or \.png"):
        draw_graph(make_graph([], 1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failure_leaves_what_was_there(tmp_path, make_graph, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(GHNError, match=r"Can't write to .*graph\.svg: .*File exists"):
        draw_graph(make_graph([], 1), tmp_path / "file" / "graph.svg")
    (tmp_path / "file").unlink()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    (tmp_path / "graph.svg").write_text("old")
    with pytest.raises(GHNError, match="disk full"):
        draw_graph(make_graph([(0, 1)], 2), tmp_path / "graph.svg")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_is_no_graph(make_graph):
    good, unknown = make_graph([(0, 1)], 2), make_graph([(0, 1)], 2)
    unknown.x = unknown.x + 20
    for graph, message in [
        (make_graph([(0, 1), (1, 0)], 2), "cycle"),
        (Batch.from_data_list([good, good]), "is a batch or empty"),
        (make_graph([], 0), "is a batch or empty"),
        (unknown, "0 to 14"),
    ]:
        with pytest.raises(GraphError, match=message):
            draw_graph(graph, "unused.svg")
    del good.param_name
    with pytest.raises(GraphError, match="lacks param_name"):
        draw_graph(good, "unused.svg")


def test_import_is_lazy():
    code = "import sys, pyg_ghn.drawing; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
