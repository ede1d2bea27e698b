r"""Plots of what was measured: fine-tuning step by step, and an evaluation."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pyg_ghn.drawing.style import INK, SERIES, plain, save_figure
from pyg_ghn.evaluation.result import GeneralizationResult

MEASURES = {  # figure of a network to its colour, its label and its place beside the split
    "accuracy": (SERIES[1], "predicted by the GHN", -0.19),
    "random": (SERIES[0], "random initialization", 0.19),
}
SPREAD = 0.11  # half the width of a cloud of points


def draw_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    path: str | os.PathLike,
    ylabel: str,
) -> Path:
    r"""Writes :func:`plot_curves` to a :obj:`.svg`, :obj:`.pdf` or :obj:`.png` file.

    Raises:
        ConfigError: If the kind of file is unknown.
        GHNError: If the file can't be written.
    """
    return save_figure(plot_curves(curves, ylabel), path)


def plot_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    ylabel: str,
    axes: Axes | None = None,
) -> Figure:
    r"""A line over steps for each name, the mean of its runs, in a band from the lowest to the
    highest.

    Args:
        curves (dict): Name, of a start for example, to its runs, each a list of points
            :math:`(x, y)`. Runs of one name are joined at the places that all of them have. A name
            without runs has a colour, but no line; the first colour is grey.
        ylabel (str): What is measured.
        axes (matplotlib.axes.Axes, optional): Where to draw. (default: :obj:`None`, those of a new
            figure)

    Returns:
        matplotlib.figure.Figure: The figure; a new one is its own, without pyplot.
    """
    axes = axes or Figure(figsize=(5.6, 3.6), dpi=160, layout="constrained").add_subplot()
    for i, (name, runs) in enumerate(curves.items()):
        if not runs:
            continue
        color = SERIES[i % len(SERIES)]
        places = sorted(set.intersection(*({x for x, _ in run} for run in runs)))
        values = np.array([[dict(run)[x] for x in places] for run in runs])
        axes.plot(places, values.mean(0), color=color, linewidth=1.8, marker="o", markersize=3.5)
        axes.fill_between(
            places, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0
        )
        axes.lines[-1].set_label(name)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("steps", color=INK, fontsize=10)
    axes.set_ylabel(ylabel, color=INK, fontsize=10)
    plain(axes)
    return axes.figure


def draw_generalization(result: GeneralizationResult, path: str | os.PathLike) -> Path:
    r"""Writes :func:`plot_generalization` to a :obj:`.svg`, :obj:`.pdf` or :obj:`.png` file.

    Raises:
        ConfigError: If the kind of file is unknown.
        GHNError: If the file can't be written.
    """
    return save_figure(plot_generalization(result), path)


def plot_generalization(result: GeneralizationResult) -> Figure:
    r"""One point per network and a box per split: predicted parameters beside random ones.

    Args:
        result (GeneralizationResult): The evaluation.

    Returns:
        matplotlib.figure.Figure: Its own figure, without pyplot; save it with
        :obj:`figure.savefig`.
    """
    figure = Figure(figsize=(8.4, 3.8), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    splits = result.by_split()
    for place, networks in enumerate(splits.values()):
        # Many points are small and pale, few are large: both fill the cloud about equally.
        size, alpha = np.clip(600 / len(networks), 5, 22), np.clip(25 / len(networks), 0.25, 0.7)
        for who, (color, _, offset) in MEASURES.items():
            values = 100 * np.array([getattr(net, who) for net in networks])
            x = place + offset + jitter.uniform(-SPREAD, SPREAD, len(values))
            axes.scatter(x, values, s=size, color=color, alpha=alpha, linewidths=0, zorder=2)
            thin = {"color": color, "linewidth": 1.1}
            axes.boxplot(
                [values],
                positions=[place + offset],
                widths=2.6 * SPREAD,
                showfliers=False,
                manage_ticks=False,
                boxprops=thin,
                whiskerprops=thin,
                capprops={"linewidth": 0},
                medianprops={"color": color, "linewidth": 2.2},
                zorder=3,
            )
    dashed = {"color": INK, "linewidth": 0.9, "linestyle": (0, (4, 3))}
    axes.axhline(100 * result.chance, zorder=1, **dashed)
    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=color, label=label)
        for color, label, _ in MEASURES.values()
    ]
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2, "ncols": 3}
    look = {"frameon": False, "fontsize": 10, "labelcolor": INK, "handletextpad": 0.5}
    axes.legend(handles=[*dots, Line2D([], [], label="chance", **dashed)], **place, **look)
    names = [f"{name}\nn = {len(networks)}" for name, networks in splits.items()]
    axes.set_xticks(range(len(splits)), names)
    axes.set_ylabel(f"{result.images} {result.image_split} accuracy, %", color=INK, fontsize=10)
    axes.set_xlabel("unseen networks by split", color=INK, fontsize=10)
    axes.set_xlim(-0.55, len(splits) - 0.45)
    axes.set_ylim(bottom=0)
    plain(axes)
    return figure
