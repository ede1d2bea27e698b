r"""Figure 8: accuracy and loss on training images during training from each initialization."""

from __future__ import annotations

from matplotlib.figure import Figure

from tables.figure6 import ROWS, along
from tables.output import Table
from tables.rows import Results

__all__ = ["ROWS", "report"]


def report(trained: Results) -> list[Table | Figure]:
    measures = {"train": "accuracy on training images, %", "loss": "loss on training images"}
    return along(trained, measures)
