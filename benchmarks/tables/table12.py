r"""Table 12: all networks of both kinds, without and with fine-tuning."""

from __future__ import annotations

from tables.finetuning import KINDS, PREDICTED, Network, curves, evaluated, in_kind, zero_accuracies
from tables.output import Table, mean_std
from tables.rows import Results
from tables.zero_step import ZERO_STEP

ROWS = (ZERO_STEP, PREDICTED)


def report(zero: Results, tuned: Results) -> list[Table]:
    reached, rows = curves(tuned), []
    kinds = [kind for kind in KINDS if in_kind(reached.get("random", ()), kind)]

    def add(start: str, step: int, accuracies: dict[Network, float]) -> None:
        values = [[accuracies[name] for name in in_kind(accuracies, kind)] for kind in kinds]
        counts = " + ".join(str(len(part)) for part in values)
        rows.append([start, step, counts, *map(mean_std, values)])

    for start, accuracies in zero_accuracies(zero, tuned).items():
        add(start, 0, accuracies)
    for start, networks in reached.items():
        for step in evaluated(tuned)[1:]:
            add(start, step, {name: curve[step] for name, curve in networks.items()})
    columns = ["method", "SGD steps", "networks", *kinds]
    title = "Top-1 accuracy (%) of all networks, mean and standard deviation"
    notes = ["Without SGD: of the first seed; else the means over seeds."]
    return [Table(title, columns, rows, notes)]
