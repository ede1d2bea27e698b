r"""Breaks rows into columns, as text is wrapped, so that the whole gets the shape of a page."""

from __future__ import annotations

import math
from itertools import groupby

MAX_COLUMNS = 40


def break_into_columns(
    heights: list[float], widths: list[float], blocks: list[int], aspect: float
) -> list[range]:
    r"""The rows of each column, such that width over height of the whole is about as wanted.

    Columns end where blocks end, unless a block alone is higher than a column.

    Args:
        heights (list): Height of each row.
        widths (list): Width of each row.
        blocks (list): The block that each row belongs to, ascending.
        aspect (float): Wanted width over height.
    """
    total = sum(heights)
    limits = [2 * total / halves for halves in range(2, 2 * MAX_COLUMNS)]

    def misfit(columns: list[range]) -> float:
        height = max(sum(heights[row] for row in column) for column in columns)
        width = sum(max(widths[row] for row in column) for column in columns)
        unused = 1 - total / (len(columns) * height)
        return abs(math.log(width / height / aspect)) + unused / 2

    return min((_filled(heights, blocks, limit) for limit in limits), key=misfit)


def _filled(heights: list[float], blocks: list[int], limit: float) -> list[range]:
    """Fills columns up to a height, one after the other."""
    columns, start, used = [], 0, 0.0
    for _, group in groupby(range(len(heights)), key=blocks.__getitem__):
        rows = list(group)
        height = sum(heights[row] for row in rows)
        units = [rows] if height <= limit else [[row] for row in rows]
        for unit in units:
            needed = sum(heights[row] for row in unit)
            if unit[0] > start and used + needed > limit:
                columns.append(range(start, unit[0]))
                start, used = unit[0], 0.0
            used += needed
    return [*columns, range(start, len(heights))]
