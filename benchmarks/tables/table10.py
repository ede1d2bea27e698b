r"""Table 10: further ablations, of regularization."""

from __future__ import annotations

from tables.output import Table
from tables.rows import Results
from tables.table5 import ROWS, ablations

__all__ = ["ROWS", "report"]


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table]:
    return [ablations(("penalty", "gamma", "weight decay", "decoder"), checkpoints, zero, tuned)]
