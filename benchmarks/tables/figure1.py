r"""Figure 1: accuracy of the best networks after fine-tuning by the size of the GHN."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, pstdev

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from pyg_ghn.drawing.style import SERIES
from tables.checkpoints import CHECKPOINTS
from tables.finetuning import KINDS, PREDICTED, curves, in_kind, top
from tables.output import Table, mean_std, new_figure
from tables.rows import Results, Row
from tables.zero_step import ZERO_STEP

ROWS = (CHECKPOINTS, ZERO_STEP, PREDICTED)


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table | Figure]:
    return against(
        "parameters of the GHN (M)", lambda row: row["params"] / 1e6, checkpoints, zero, tuned
    )


def against(
    what: str,
    value: Callable[[Row], float | None],
    checkpoints: Results,
    zero: Results,
    tuned: Results,
) -> list[Table | Figure]:
    r"""Accuracy of the top 10 after all steps against a value of each GHN."""
    reached, last, rows = curves(tuned), tuned.settings["steps"], []
    kinds = [kind for kind in KINDS if in_kind(reached.get("random", ()), kind)]
    figure, axes = new_figure(ncols=max(1, len(kinds)), squeeze=False)
    for i, row in enumerate([{"start": "random"}, *checkpoints.rows]):
        start = row["start"]
        x, cells = value(row) if "config" in row else None, []
        for kind, ax in zip(kinds, axes[0], strict=True):
            best = top(zero, tuned, start, kind)
            values = [reached[start][name][last] for name in best if name in reached.get(start, ())]
            cells.append(mean_std(values))
            if not values:
                continue
            mean, std, color = fmean(values), pstdev(values), SERIES[i % len(SERIES)]
            if start == "random":
                ax.axhline(mean, color=color, linestyle=(0, (4, 3)), label=start)
                ax.axhspan(mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
            elif x is not None:
                marker = "osD^v"[i // len(SERIES) % 5]
                ax.errorbar([x], [mean], [std], marker=marker, color=color, capsize=2, label=start)
        rows.append([start, None if x is None else f"{x:.3g}", *cells])
    for kind, ax in zip(kinds, axes[0], strict=True):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_title(f"{kind}-10", fontsize=10, loc="left")
        ax.set_xlabel(what, fontsize=9)
    axes[0, 0].set_ylabel(f"{tuned.settings['images']} accuracy after {last} steps, %", fontsize=9)
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    title = f"Top-1 accuracy (%) of the top 10 networks after {last} steps of SGD"
    return [Table(title, ["initialization", what, *(f"{k}-10" for k in kinds)], rows), figure]
