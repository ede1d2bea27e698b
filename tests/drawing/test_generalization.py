import pytest

from pyg_ghn.drawing import draw_generalization, plot_generalization
from pyg_ghn.evaluation import GeneralizationResult, NetworkResult


@pytest.fixture
def result():
    found = [("val", 0.5, 0.1), ("val", 0.7, 0.14), ("torchvision", 0.0, 0.08)]
    networks = [
        NetworkResult(split, str(i), (), 100, 0.9, top1, 1.0, top1, random, 0.5, 0.0, 0.1)
        for i, (split, top1, random) in enumerate(found)
    ]
    return GeneralizationResult(networks, "GHN3", {}, "digits", "test", 359, 10, {}, {}, "today")


def test_plot_shows_every_network(result, tmp_path):
    (axes,) = plot_generalization(result).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["val\nn = 2", "torchvision\nn = 1"]
    heights = [y for cloud in axes.collections for y in cloud.get_offsets()[:, 1].tolist()]
    assert sorted(heights) == pytest.approx([0, 8, 10, 14, 50, 70])
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["predicted by the GHN", "random initialization", "chance"]
    assert axes.get_ylabel() == "digits test accuracy, %"
    path = draw_generalization(result, tmp_path / "new" / "plot.png")
    assert path.read_bytes().startswith(b"\x89PNG")
