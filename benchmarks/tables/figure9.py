r"""Figure 9, and the lower half of figure 6: how large activations are on their way through a
network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure

from pyg_ghn.drawing.style import SERIES
from pyg_ghn.evaluation import activation_variances
from tables.options import Options
from tables.output import Table, new_figure
from tables.rows import Job, Results, Row, Rows
from tables.trained import network, settings, starts, trained

BATCH = 64


def names(options: Options) -> list[str]:
    r"""The paper's networks of figures 9 and 6; for small images those of moderate size."""
    if options.data.input_size[1] < 128:
        return ["swin_t", "efficientnet_b0", *(() if options.quick else ("resnet50",))]
    return ["vit_b_16", "efficientnet_b0", "resnet50", "resnet152", "swin_t"]


def jobs(options: Options, _: Results) -> Iterator[Job]:
    for name in names(options):
        for start in starts(options):
            yield {"network": name, "start": start}, partial(measure, options, name, start)


def measure(options: Options, name: str, start: str) -> Row:
    generator = torch.Generator().manual_seed(options.seeds[0])
    images, _ = options.data.train.sample(BATCH, generator)
    return {"variances": activation_variances(network(options, name, start), images)}


TRAINED = trained(names)
ROWS = (TRAINED, Rows("activations", ("network", "start"), settings, jobs, (TRAINED,)))


def report(_: Results, found: Results) -> list[Table | Figure]:
    networks: dict[str, dict[str, np.ndarray]] = {}
    for row in found.rows:
        values = np.array([value for _, value in row["variances"]])
        networks.setdefault(row["network"], {})[row["start"]] = values
    size = {"height": 0.6 + 2.4 * max(1, len(networks)), "nrows": max(1, len(networks))}
    figure, axes = new_figure(**size, squeeze=False)
    rows = []
    for (name, values), ax in zip(networks.items(), axes[:, 0], strict=False):
        # Layers that start at zero, as the last one of a ViT, have no logarithm: a gap.
        logs = {start: np.log10(np.where(v > 0, v, np.nan)) for start, v in values.items()}
        for i, (start, variances) in enumerate(values.items()):
            apart, black = None, start == "trained"
            if not black and "trained" in logs:
                apart = float(np.nanmean(abs(logs[start] - logs["trained"])))
            mean = 10 ** np.nanmean(logs[start])
            cells = (mean, min(variances), max(variances), variances[-1])
            rows.append([name, start, len(variances), *(f"{cell:.2g}" for cell in cells), apart])
            look = (
                {"color": "#1c1f24", "zorder": 3} if black else {"color": SERIES[i % len(SERIES)]}
            )
            shown = 10 ** logs[start]
            ax.plot(range(1, len(shown) + 1), shown, linewidth=1.4, label=start, **look)
        ax.set_yscale("log")
        ax.tick_params(which="minor", length=0)
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_ylabel("variance", fontsize=9)
        ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    axes[-1, 0].set_xlabel("convolution or linear layer", fontsize=9)
    columns = (
        "network",
        "parameters",
        "layers",
        "mean",
        "least",
        "largest",
        "last",
        "from trained",
    )
    notes = [
        f"One batch of {BATCH} images; a GHN's parameters as they are predicted. Mean: geometric. "
        "From trained: by how many powers of ten a layer's variance differs, in the mean. Trained: "
        f"{found.settings['trained']}."
    ]
    return [Table("Variance of activations", columns, rows, notes), figure]
