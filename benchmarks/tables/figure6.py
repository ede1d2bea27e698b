r"""Figure 6: accuracy during training from each initialization."""

from __future__ import annotations

from statistics import fmean

from matplotlib.figure import Figure

from pyg_ghn.drawing import plot_curves
from tables.output import Table, mean_std, new_figure
from tables.rows import Results
from tables.training import TRAINING, curves

ROWS = (TRAINING,)


def report(trained: Results) -> list[Table | Figure]:
    return along(trained, {"test": "accuracy on test images, %"})


def along(trained: Results, measures: dict[str, str]) -> list[Table | Figure]:
    r"""A row of pictures for each measure, with a picture for each network, and what is in them as
    tables."""
    reached, tables = curves(trained), []
    colours = dict.fromkeys(row["start"] for row in trained.rows)
    columns = max(1, len(reached))
    size = {"width": 1 + 3.8 * columns, "height": 0.4 + 3.2 * len(measures)}
    figure, axes = new_figure(**size, nrows=len(measures), ncols=columns, squeeze=False)
    for line, (measure, label) in zip(axes, measures.items(), strict=True):
        unit = 1 if measure == "loss" else 100
        for ax, (network, starts) in zip(line, reached.items(), strict=False):
            lines, rows = {}, []
            for start, runs in starts.items():
                measured = [[p for p in run if p[measure] is not None] for run in runs]
                lines[start] = [[(p["step"], unit * p[measure]) for p in run] for run in measured]
                values = [[y for _, y in point] for point in zip(*lines[start], strict=True)]
                shown = (f"{fmean(v):.3g}" if unit == 1 else mean_std(v) for v in values)
                rows.append([start, *shown])
            plot_curves({start: lines.get(start, []) for start in colours}, label, axes=ax)
            ax.get_legend().remove()
            ax.set_title(network, fontsize=10, loc="left")
            steps = [str(step) for step, _ in next(iter(lines.values()))[0]]
            tables.append(Table(f"{network}: {label}", ["steps", *steps], rows))
    legend = max((ax.get_legend_handles_labels() for ax in axes.flat), key=lambda h: len(h[1]))
    figure.legend(*legend, loc="outside upper center", ncols=4 * columns, frameon=False, fontsize=8)
    return [*tables, figure]
