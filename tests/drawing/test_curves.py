import pytest

from pyg_ghn.drawing import draw_curves, plot_curves
from pyg_ghn.errors import ConfigError

RUNS = {"ghn": [[(0, 50), (5, 70), (10, 90)], [(0, 30), (10, 80)]], "random": [[(0, 10), (10, 60)]]}


def test_a_line_is_the_mean_of_runs_where_all_have_a_point():
    axes = plot_curves(RUNS, "accuracy, %").axes[0]
    ghn, random = axes.lines
    assert ghn.get_xydata().tolist() == [[0, 40], [10, 85]]
    assert random.get_xydata().tolist() == [[0, 10], [10, 60]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ghn", "random"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "accuracy, %")
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (30, 90)
    axes = plot_curves(RUNS, "").axes[0]
    figure = axes.figure
    assert plot_curves({"ghn": [], "random": RUNS["random"]}, "", axes=axes) is figure
    *_, ghn, random, again = (line.get_color() for line in axes.lines)
    assert ghn != random == again


def test_written_as_a_picture_of_known_kind(tmp_path):
    assert draw_curves(RUNS, tmp_path / "a.png", "accuracy").stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"\.png"):
        draw_curves(RUNS, tmp_path / "a.jpeg", "accuracy")
