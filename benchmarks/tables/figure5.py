r"""Figure 5: generalization without fine-tuning by split."""

from __future__ import annotations

from statistics import fmean, pstdev

from matplotlib.figure import Figure

from pyg_ghn.drawing.style import SERIES
from tables.finetuning import RANDOM
from tables.output import Table, new_figure
from tables.rows import Results
from tables.table11 import by_method, splits_of
from tables.zero_step import ZERO_STEP

ROWS = (ZERO_STEP, RANDOM)


def report(zero: Results, tuned: Results) -> list[Table | Figure]:
    methods = by_method(zero, tuned)
    counts = splits_of(methods)
    splits = list(counts)
    figure, ax = new_figure(width=max(8.4, 1.2 * len(methods)))
    width = 0.8 / max(1, len(methods))
    for i, ((start, steps, what), values) in enumerate(methods.items()):
        present = [split for split in splits if values.get(split)]
        places = [splits.index(split) + (i - (len(methods) - 1) / 2) * width for split in present]
        label = f"{start}, {steps} steps of SGD" if steps else f"{start}{what}"
        ax.bar(
            places,
            [fmean(values[split]) for split in present],
            0.92 * width,
            yerr=[pstdev(values[split]) for split in present],
            color=SERIES[i % len(SERIES)],
            error_kw={"elinewidth": 0.8, "ecolor": "#30343b"},
            label=label,
        )
    ax.set_xticks(range(len(splits)), [f"{split} ({count})" for split, count in counts.items()])
    ax.set_ylabel(f"{zero.settings['images']} test accuracy, %")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return [figure]
