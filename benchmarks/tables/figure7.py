r"""Figure 7: the accuracies of all networks of DeepNets-1M without fine-tuning."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tables.figure5 import ROWS
from tables.output import COLORS, Table, new_figure
from tables.rows import Results
from tables.table11 import by_method

__all__ = ["ROWS", "report"]


def report(zero: Results, tuned: Results) -> list[Table | Figure]:
    methods = {
        key: values["ALL"] for key, values in by_method(zero, tuned).items() if "ALL" in values
    }
    highest = max((max(values) for values in methods.values()), default=1.0)
    bins = np.linspace(0, highest, 21)
    figure, axes = new_figure(ncols=max(1, len(methods)), sharey=True, squeeze=False)
    for i, ((start, steps, what), values) in enumerate(methods.items()):
        ax = axes[0, i]
        ax.hist(values, bins, color=COLORS[i % len(COLORS)])
        title = f"{start}, {steps} steps" if steps else f"{start}{what}"
        ax.set_title(f"{title}\n{np.mean(values):.1f}±{np.std(values):.1f}", fontsize=9)
        ax.set_xlabel(f"{zero.settings['images']} accuracy, %", fontsize=9)
    axes[0, 0].set_ylabel("networks")
    return [figure]
