import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from pyg_ghn.drawing import (
    draw_embeddings,
    draw_filters,
    draw_generalization,
    first_convolution,
    plot_curves,
)
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import GeneralizationResult, NetworkResult
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3


@pytest.fixture(scope="module")
def ghn():
    return GHN3(hidden_channels=16, num_layers=1, heads=4, max_shape=(16, 16, 7, 7), num_classes=10)


def make_model(width, channels=3):
    layers = [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@pytest.fixture(scope="module")
def graphs():
    return {f"width {width}": from_module(make_model(width), (3, 8, 8)) for width in (4, 8, 16, 32)}


@pytest.fixture
def figures(monkeypatch):
    """The figures that would have been saved."""
    found = []
    monkeypatch.setattr("pyg_ghn.drawing.plots.save_figure", lambda figure, _: found.append(figure))
    return found


@pytest.mark.parametrize(("suffix", "method"), [(".png", "tsne"), (".svg", "pca"), (".pdf", "pca")])
def test_embeddings(suffix, method, ghn, graphs, tmp_path):
    before = {name: graph.keys() for name, graph in graphs.items()}
    path = draw_embeddings(ghn, graphs, tmp_path / f"embeddings{suffix}", method)
    again = draw_embeddings(ghn, graphs, tmp_path / f"again{suffix}", method)
    assert path.stat().st_size > 5000 and path.read_bytes() == again.read_bytes()
    assert {name: graph.keys() for name, graph in graphs.items()} == before
    assert all(param.grad is None for param in ghn.parameters())


def test_each_node_is_a_point_of_the_common_projection(ghn, graphs, figures):
    draw_embeddings(ghn, graphs, "unused.png")
    (figure,) = figures
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == list(graphs)
    for axes, graph in zip(panels, graphs.values(), strict=True):
        points = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets())])
        assert len(points) == graph.num_nodes
        embeddings = ghn.embed(ghn.transform(graph), graph.param_shape).detach()
        lengths = torch.pdist(embeddings).max()  # a projection makes no distance longer
        assert 0 < np.ptp(points[:, 0]) <= lengths + 1e-4
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["input", "conv", "bias", "bn", "glob_avg"]


@pytest.mark.parametrize("channels", [1, 3])
def test_filters(channels, tmp_path):
    weights = {"few": torch.randn(5, channels, 3, 3), "many": torch.randn(100, channels, 16, 16)}
    weights["zero"] = torch.zeros(4, channels, 3, 3)
    pixels = imread(draw_filters(weights, tmp_path / "filters.png"))
    colored = np.ptp(pixels[..., :3], axis=-1).max() > 0.2
    assert pixels.shape[1] > 1.5 * pixels.shape[0] and colored == (channels == 3)


def test_mosaic_holds_the_filters_with_zero_in_grey(figures):
    filters = torch.zeros(5, 3, 6, 6)
    filters[0], filters[1, 0] = 1, -1
    draw_filters({"filters": filters}, "unused.png")
    image = figures[0].axes[0].images[0].get_array()
    assert image.shape == (2 * 24 + 2, 3 * 24 + 2 * 2, 3)  # two rows of three filters of 24 pixels
    assert (image[:24, :24] == 1).all() and (image[:24, 26:50] == [0, 0.5, 0.5]).all()
    assert (image[26:, 26:50] == 0.5).all() and (image[26:, 52:] == 1).all()
    assert (image[24:26] == 1).all()


@pytest.mark.parametrize(
    "weight",
    [torch.randn(4, 2, 3, 3), torch.randn(4, 3), torch.full((4, 3, 3, 3), float("nan"))],
    ids=["two channels", "linear", "not finite"],
)
def test_weights_that_are_no_filters(weight, tmp_path):
    with pytest.raises(ConfigError, match="'bad' must be the finite weight"):
        draw_filters({"bad": weight}, tmp_path / "f.png")
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw_filters({}, tmp_path / "f.png")
    assert not list(tmp_path.iterdir())


def test_first_convolution_and_embeddings_of_nothing(ghn, graphs, tmp_path):
    assert first_convolution(from_module(make_model(4), (3, 8, 8))) == "0.weight"
    assert first_convolution(from_module(make_model(4, channels=1), (1, 8, 8))) == "0.weight"
    with pytest.raises(ConfigError, match="no convolution of images"):
        first_convolution(from_module(nn.Linear(3, 4), (3,)))
    with pytest.raises(ConfigError, match="3 or more nodes"):
        draw_embeddings(ghn, {}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="'umap', choose one of pca, tsne"):
        draw_embeddings(ghn, graphs, tmp_path / "x.png", "umap")
    assert not list(tmp_path.iterdir())


def test_a_line_is_the_mean_of_runs_where_all_have_a_point():
    curves = {"ghn": [[(0, 50), (5, 70), (10, 90)], [(0, 30), (10, 80)]]}
    curves["random"] = [[(0, 10), (10, 60)]]
    axes = plot_curves(curves, "accuracy, %").axes[0]
    ghn, random = axes.lines
    assert ghn.get_xydata().tolist() == [[0, 40], [10, 85]]
    assert random.get_xydata().tolist() == [[0, 10], [10, 60]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ghn", "random"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "accuracy, %")
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (30, 90)
    assert plot_curves({**curves, "ghn": []}, "", axes=axes) is axes.figure
    ghn, random, again = (line.get_color() for line in axes.lines)
    assert ghn != random == again


def test_an_evaluation_shows_every_network(figures):
    found = [("val", 0.5, 0.1), ("val", 0.7, 0.14), ("torchvision", 0.0, 0.08)]
    networks = [
        NetworkResult(split, str(i), (), 100, 0.9, top1, 1.0, top1, random, 0.5, 0.0, 0.1)
        for i, (split, top1, random) in enumerate(found)
    ]
    settings = "GHN3", {}, "digits", "test", 359, 10, {}, {}, "today"
    draw_generalization(GeneralizationResult(networks, *settings), "unused.png")
    (axes,) = figures[0].axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["val\nn = 2", "torchvision\nn = 1"]
    heights = [y for cloud in axes.collections for y in cloud.get_offsets()[:, 1].tolist()]
    assert sorted(heights) == pytest.approx([0, 8, 10, 14, 50, 70])
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["predicted by the GHN", "random initialization", "chance"]
    assert axes.get_ylabel() == "digits test accuracy, %"
