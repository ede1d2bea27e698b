r"""The picture of a comparison: what each start reached, step by step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyg_ghn.drawing.style import INK, SERIES, plain, save_figure


def draw_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    path: str | os.PathLike,
    ylabel: str,
    xlabel: str = "steps",
) -> Path:
    r"""Writes :func:`plot_curves` to a :obj:`.svg`, :obj:`.pdf` or :obj:`.png` file.

    Raises:
        ConfigError: If the kind of file is unknown.
        GHNError: If the file can't be written.
    """
    return save_figure(plot_curves(curves, ylabel, xlabel), path)


def plot_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    ylabel: str,
    xlabel: str = "steps",
    axes: Axes | None = None,
) -> Figure:
    r"""A line for each name, the mean of its runs, in a band from the lowest to the highest.

    Args:
        curves (dict): Name, of a start for example, to its runs, each a list of points
            :math:`(x, y)`. Runs of one name are joined at the places that all of them have. A name
            without runs has a colour, but no line; the first colour is grey.
        ylabel (str): What is measured.
        xlabel (str, optional): What it is measured over. (default: :obj:`"steps"`)
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
    axes.set_xlabel(xlabel, color=INK, fontsize=10)
    axes.set_ylabel(ylabel, color=INK, fontsize=10)
    plain(axes)
    return axes.figure
