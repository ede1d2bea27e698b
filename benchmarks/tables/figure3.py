r"""Figure 3: accuracy of the best networks after fine-tuning by how long the GHN was trained."""

from __future__ import annotations

from matplotlib.figure import Figure

from tables.figure1 import ROWS, against
from tables.output import Table
from tables.rows import Results, Row

__all__ = ["ROWS", "report"]


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table | Figure]:
    return against("training of the GHN (hours)", hours, checkpoints, zero, tuned)


def hours(row: Row) -> float | None:
    minutes = row["training"].get("minutes")
    return minutes and minutes / 60
