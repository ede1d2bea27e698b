import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from matplotlib.image import imread
from torch import nn
from torch_geometric.data import Batch

from pyg_ghn.errors import ConfigError, GHNError, GraphError
from pyg_ghn.graph.draw import draw, to_dot

NAMESPACE = "{http://www.w3.org/2000/svg}"
needs_graphviz = pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
BACKENDS = ["matplotlib", pytest.param("graphviz", marks=needs_graphviz)]


def groups(svg, kind):
    """What a picture in SVG says it drew: ids of matplotlib, titles of Graphviz."""
    root = ET.parse(svg).getroot()
    found = [g.get("id", "") for g in root.iter(f"{NAMESPACE}g")]
    found += [title.text or "" for title in root.iter(f"{NAMESPACE}title")]
    return [name for name in found if re.fullmatch(rf"{kind}\d+", name)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["resnet50", 11])
def test_svg_draws_each_node_once(name, backend, graph_of, tmp_path):
    graph = graph_of(name)
    path = draw(graph, tmp_path / "graph.svg", backend=backend)
    assert sorted(groups(path, "n")) == sorted(f"n{i}" for i in range(graph.num_nodes))
    assert len(groups(path, "legend")) == len(graph.x.unique())
    text = path.read_text()
    assert "conv" in text and f"{graph.num_nodes} nodes, {graph.num_edges} edges" in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_png_and_pdf(backend, graph_of, tmp_path):
    pixels = imread(draw(graph_of("resnet18"), tmp_path / "new" / "graph.PNG", backend=backend))
    assert 800 < max(pixels.shape[:2]) < 2000 and 0.5 < pixels[..., :3].mean() < 0.99
    pdf = draw(graph_of("resnet18"), tmp_path / "graph.pdf", backend=backend).read_bytes()
    assert pdf.startswith(b"%PDF") and pdf.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("backend", BACKENDS)
def test_resolution_of_large_pictures_is_bounded(backend, graph_of, tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_ghn.graph.draw.MAX_PIXELS", 600)
    pixels = imread(draw(graph_of("resnet50"), tmp_path / "graph.png", backend=backend))
    assert 560 < max(pixels.shape[:2]) < 640


def test_dot_holds_each_node_and_edge_once(graph_of):
    graph = graph_of("densenet121")
    source = to_dot(graph, title="a dense network")
    assert sorted(re.findall(r"^  (n\d+) \[", source, re.M)) == sorted(
        f"n{i}" for i in range(graph.num_nodes)
    )
    edges = re.findall(r"^  n(\d+) -> n(\d+) \[", source, re.M)
    assert sorted(edges) == sorted((str(i), str(j)) for i, j in graph.edge_index.t().tolist())
    assert "a dense network: 307 nodes, 841 edges" in source
    assert len(re.findall(r"^  legend\d+ \[", source, re.M)) == len(graph.x.unique())
    assert source.count("{") == source.count("}")


class Tiny(nn.Module):
    input_size = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def test_model_instead_of_graph():
    assert '"Tiny: 3 nodes, 2 edges\\l"' in to_dot(Tiny())


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_with_special_characters(backend, make_graph, tmp_path):
    names = [None, 'a"b\\n<c>|{d}&.weight', "$x_1$.weight"]
    graph = make_graph([(0, 1), (1, 2)], 3, names, ["input", "conv", "bn"])
    path = draw(graph, tmp_path / "graph.svg", 'a "title"', backend)
    text = "".join(ET.parse(path).getroot().itertext())
    assert 'a"b' in text and "$x_1$" in text


def test_falls_back_to_matplotlib(monkeypatch, tmp_path, make_graph):
    monkeypatch.setenv("PATH", str(tmp_path))
    graph = make_graph([(0, 1)], 2)
    assert "Matplotlib" in draw(graph, tmp_path / "graph.svg").read_text()
    with pytest.raises(GHNError, match=r"Graphviz can't draw: .*install it, or draw with the back"):
        draw(graph, tmp_path / "other.svg", backend="graphviz")
    assert not (tmp_path / "other.svg").exists()


def test_failure_leaves_what_was_there(monkeypatch, tmp_path, make_graph):
    def fail(*args, **kwargs):
        raise subprocess.CalledProcessError(1, "dot", stderr=b"no cairo")

    monkeypatch.setattr(subprocess, "run", fail)
    (tmp_path / "graph.svg").write_text("old")
    with pytest.raises(GHNError, match="Graphviz can't draw: no cairo"):
        draw(make_graph([(0, 1)], 2), tmp_path / "graph.svg", backend="graphviz")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("name", ["graph.gif", "graph", "graph.svg.bak"])
def test_unknown_kind_of_file(name, tmp_path, make_graph):
    with pytest.raises(ConfigError, match=r"must end in \.svg, \.pdf or \.png"):
        draw(make_graph([], 1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_unwritable_path(tmp_path, make_graph):
    (tmp_path / "file").touch()
    with pytest.raises(GHNError, match="Can't write the picture"):
        draw(make_graph([], 1), tmp_path / "file" / "graph.svg")


def test_unknown_backend(tmp_path, make_graph):
    with pytest.raises(ConfigError, match="'cairo', choose one of graphviz, matplotlib"):
        draw(make_graph([], 1), tmp_path / "graph.svg", backend="cairo")


def test_graphs_that_are_none(make_graph):
    good = make_graph([(0, 1)], 2)
    with pytest.raises(GraphError, match="cycle"):
        to_dot(make_graph([(0, 1), (1, 0)], 2))
    with pytest.raises(GraphError, match="is a batch or empty"):
        to_dot(Batch.from_data_list([good, good]))
    with pytest.raises(GraphError, match="is a batch or empty"):
        to_dot(make_graph([], 0))
    unknown = make_graph([(0, 1)], 2)
    unknown.x = unknown.x + 20
    with pytest.raises(GraphError, match="0 to 14"):
        to_dot(unknown)
    del good.param_name
    with pytest.raises(GraphError, match="lacks param_name"):
        to_dot(good)
