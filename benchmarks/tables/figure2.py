r"""Figure 2: first-layer filters of a network, predicted and trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch
from matplotlib.figure import Figure

from pyg_ghn.drawing import plot_filters
from pyg_ghn.evaluation import accuracy
from tables.options import Options
from tables.output import Table
from tables.rows import Job, Results, Row, Rows
from tables.trained import network, settings, starts, trained


def names(options: Options) -> list[str]:
    return ["resnet18" if options.quick else "resnet50"]


def jobs(options: Options, _: Results) -> Iterator[Job]:
    for name in names(options):
        for start in starts(options):
            yield {"network": name, "start": start}, partial(measure, options, name, start)


def measure(options: Options, name: str, start: str) -> Row:
    begin = time.perf_counter()
    model = network(options, name, start)
    seconds = time.perf_counter() - begin
    weight = model.get_parameter("conv1.weight").detach().double().cpu()
    digits = 4 - int(weight.abs().max().clamp(min=1e-30).log10().floor())
    top1 = accuracy(model, None, options.data.test)["top1"]
    return {"accuracy": top1, "seconds": seconds, "filters": weight.round(decimals=digits).tolist()}


TRAINED = trained(names)
ROWS = (TRAINED, Rows("filters", ("network", "start"), settings, jobs, (TRAINED,)))


def report(trained: Results, found: Results) -> list[Table | Figure]:
    training = {row["network"]: row.get("seconds") for row in trained.rows}
    filters, rows = {}, []
    for row in found.rows:
        seconds = training.get(row["network"]) if row["start"] == "trained" else row["seconds"]
        top1 = 100 * row["accuracy"]
        rows.append([row["network"], row["start"], seconds, top1])
        filters[f"{row['network']}, {row['start']}: {top1:.1f} %"] = torch.tensor(row["filters"])
    columns = ["network", "parameters", "seconds", "accuracy (%)"]
    note = f"Trained: {found.settings['trained']}. Accuracy is that of test images."
    table = Table("Networks whose first filters are drawn", columns, rows, [note])
    return [table, plot_filters(filters)] if filters else [table]
