r"""Table 12: all networks of both kinds, without and with fine-tuning."""

from __future__ import annotations

from tables.finetuning import KINDS, PREDICTED, curves, evaluated, in_kind, zero_accuracies
from tables.output import Table, mean_std
from tables.rows import Results
from tables.zero_step import ZERO_STEP

ROWS = (ZERO_STEP, PREDICTED)


def report(zero: Results, tuned: Results) -> list[Table]:
    reached, rows = curves(tuned), []
    kinds = [kind for kind in KINDS if in_kind(reached.get("random", ()), kind)]
    for start, accuracies in zero_accuracies(zero, tuned).items():
        means = (mean_std(accuracies[n] for n in in_kind(accuracies, kind)) for kind in kinds)
        rows.append([start, 0, *means])
    for start, networks in reached.items():
        if networks.keys() < reached["random"].keys():
            continue  # only the best ones were fine-tuned
        for step in evaluated(tuned)[1:]:
            values = [[networks[name][step] for name in in_kind(networks, kind)] for kind in kinds]
            rows.append([start, step, *map(mean_std, values)])
    counts = [len(in_kind(reached.get("random", ()), kind)) for kind in kinds]
    columns = ["method", "SGD steps", *kinds]
    title = "Top-1 accuracy (%) of all networks, mean and standard deviation"
    return [Table(title, columns, [["networks", "", *counts], *rows])]
