r"""Pictures of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyg_ghn.evaluation.result import GeneralizationResult

WIDTH, HEIGHT, DPI = 8.4, 3.8, 160
COLORS = {"accuracy": "#2463b0", "random": "#8b9099"}
LABELS = {"accuracy": "predicted by the GHN", "random": "random initialization"}
OFFSETS = {"accuracy": -0.19, "random": 0.19}
SPREAD = 0.11  # half the width of a cloud of points
INK = "#30343b"


def plot_generalization(result: GeneralizationResult) -> Figure:
    r"""One point per network and a box per split: predicted parameters beside random ones.

    Args:
        result (GeneralizationResult): The evaluation.

    Returns:
        matplotlib.figure.Figure: Its own figure, without pyplot; save it with
        :obj:`figure.savefig`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    splits = result.by_split()
    for place, networks in enumerate(splits.values()):
        for who in COLORS:
            values = 100 * np.array([getattr(net, who) for net in networks])
            _cloud(axes, place + OFFSETS[who], values, COLORS[who], jitter)
    axes.axhline(100 * result.chance, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xticks(
        range(len(splits)), [f"{name}\nn = {len(networks)}" for name, networks in splits.items()]
    )
    _decorate(axes, result, len(splits))
    return figure


def _cloud(axes: Axes, x: float, values: np.ndarray, color: str, jitter: np.random.Generator):
    # Many points are small and pale, few are large: both fill the cloud about equally.
    size = float(np.clip(600 / len(values), 5, 22))
    axes.scatter(
        x + jitter.uniform(-SPREAD, SPREAD, len(values)),
        values,
        s=size,
        color=color,
        alpha=float(np.clip(25 / len(values), 0.25, 0.7)),
        linewidths=0,
        zorder=2,
    )
    axes.boxplot(
        [values],
        positions=[x],
        widths=2.6 * SPREAD,
        showfliers=False,
        manage_ticks=False,
        boxprops={"color": color, "linewidth": 1.1},
        whiskerprops={"color": color, "linewidth": 1.1},
        capprops={"linewidth": 0},
        medianprops={"color": color, "linewidth": 2.2},
        zorder=3,
    )


def _decorate(axes: Axes, result: GeneralizationResult, num_splits: int) -> None:
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=COLORS[who], label=LABELS[who])
        for who in COLORS
    ]
    line = Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="chance")
    axes.legend(
        handles=[*dots, line],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handletextpad=0.5,
        borderaxespad=0.2,
    )
    axes.set_ylabel(f"{result.images} {result.image_split} accuracy, %", color=INK, fontsize=10)
    axes.set_xlabel("unseen networks by split", color=INK, fontsize=10)
    axes.set_xlim(-0.55, num_splits - 0.45)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c4c8ce")
