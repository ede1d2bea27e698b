r"""The order from left to right within the rows of a column."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pyg_ghn.graph.draw.lanes import Column, Point

SWEEPS = 12


def reduce_crossings(column: Column) -> None:
    r"""Orders the points of each row such that few links cross. Sweeps go down and up; in each row,
    points move to the mean position of those that they are linked to in the row before. Lanes that
    pass by a block go to the left of it."""
    above: dict[Point, list[Point]] = defaultdict(list)
    below: dict[Point, list[Point]] = defaultdict(list)
    for upper, lower in column.links:
        above[lower].append(upper)
        below[upper].append(lower)
    last = {source: row for row, points in sorted(column.order.items()) for source, _ in points}
    down = sorted(column.order)
    best: tuple[int, dict[int, list[Point]]] | None = None
    for sweep in range(SWEEPS):
        rows, neighbours = (down, above) if sweep % 2 == 0 else (down[::-1], below)
        for row in rows:
            column.order[row] = _sorted(column, row, neighbours, last)
        crossings = _crossings(column)
        if best is None or crossings < best[0]:
            best = crossings, dict(column.order)
    column.order = best[1]


def _sorted(
    column: Column, row: int, neighbours: dict[Point, list[Point]], last: dict[int, int]
) -> list[Point]:
    position = _positions(column, row - 1, row + 1)

    def key(item: tuple[int, Point]) -> tuple[float, ...]:
        index, point = item
        if point in column.passing:  # the sooner it ends the closer to the block; then the younger
            return (0, -last[point[0]], point[0])
        places = [position[neighbour] for neighbour in neighbours[point]]
        return (1, sum(places) / len(places) if places else index, index)

    return [point for _, point in sorted(enumerate(column.order[row]), key=key)]


def _positions(column: Column, *rows: int) -> dict[Point, int]:
    return {point: at for row in rows for at, point in enumerate(column.order.get(row, ()))}


def _crossings(column: Column) -> int:
    position = _positions(column, *column.order)
    between: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for upper, lower in column.links:
        between[upper[1]].append((position[upper], position[lower]))
    count = 0
    for links in between.values():
        upper, lower = np.array(links).T
        count += int(((upper[:, None] < upper) & (lower[:, None] > lower)).sum())
    return count
