r"""Table 2: the best networks of each kind without fine-tuning and after some of it."""

from __future__ import annotations

from tables.finetuning import (
    KINDS,
    PREDICTED,
    TOP,
    curves,
    evaluated,
    in_kind,
    top,
    zero_accuracies,
)
from tables.output import Table, mean_std
from tables.rows import Results
from tables.zero_step import ZERO_STEP

ROWS = (ZERO_STEP, PREDICTED)


def report(zero: Results, tuned: Results) -> list[Table]:
    steps, reached = evaluated(tuned), curves(tuned)
    zeros = zero_accuracies(zero, tuned)
    kinds = [kind for kind in KINDS if in_kind(reached.get("random", ()), kind)]
    columns, rows = ["initialization"], []
    for step in steps:
        head = f"after {step} steps of SGD" if step else "no fine-tuning"
        columns += [f"{head} | {kind}-{TOP}" for kind in kinds]
    for start, networks in reached.items():
        best = {kind: top(zero, tuned, start, kind) for kind in kinds}
        row = [start]
        for step in steps:
            for kind in kinds:
                at = {name: curve[step] for name, curve in networks.items()}
                at = zeros.get(start, at) if step == 0 else at
                row.append(mean_std(at[name] for name in best[kind] if name in at))
        rows.append(row)
    title = f"Top-1 accuracy (%) of the top {TOP} networks"
    note = (
        f"Of {TOP} networks, or as many as there are: from a GHN those that do best without "
        "fine-tuning, from other starts those that do best after it. Mean and standard deviation "
        "over the networks."
    )
    return [Table(title, columns, rows, [note])]
