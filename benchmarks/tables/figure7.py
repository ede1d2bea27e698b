r"""Figure 7: the accuracies of all networks of DeepNets-1M without fine-tuning."""

from __future__ import annotations

from math import ceil

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyg_ghn.drawing.style import SERIES
from tables.figure5 import ROWS
from tables.output import Table, new_figure
from tables.rows import Results
from tables.table11 import by_method

__all__ = ["ROWS", "report"]


def report(zero: Results, tuned: Results) -> list[Table | Figure]:
    methods = {key: found["ALL"] for key, found in by_method(zero, tuned).items() if found["ALL"]}
    bins = np.linspace(0, max(map(max, methods.values()), default=1.0), 21)
    rows, columns = ceil(max(1, len(methods)) / 4), min(4, max(1, len(methods)))
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    figure, axes = new_figure(8.4, 0.8 + 2.2 * rows, nrows=rows, ncols=columns, **shared)
    for i, ((start, steps, what), values) in enumerate(methods.items()):
        ax = axes.flat[i]
        ax.hist(values, bins, color=SERIES[i % len(SERIES)])
        title = f"{start}, {steps} steps" if steps else f"{start}{what}"
        ax.set_title(f"{title}\n{np.mean(values):.1f}±{np.std(values):.1f}", fontsize=9)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(methods) :]:
        ax.set_visible(False)
    figure.supxlabel(f"{zero.settings['images']} accuracy, %", fontsize=9)
    figure.supylabel("networks", fontsize=9)
    return [figure]
