r"""The ways of values down a column.

A node's value runs down in one lane, from which an edge branches off to each node that reads it.
The value of node ``u`` where it passes row ``r`` is the point ``(u, r)``; in the row of ``u``
itself that point is the node.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyg_ghn.graph.draw.nodes import Node, readers_of
from pyg_ghn.graph.draw.rows import Row

Point = tuple[int, int]


@dataclass
class Column:
    r"""Points in consecutive rows, and links between them.

    Attributes:
        rows: The rows.
        order: Row to its points from left to right; one row more above and one below the others
            hold the values that enter and leave the column.
        links: Pairs of points in consecutive rows.
        passing: Lanes that pass by a whole block instead of ending in it.
    """

    rows: range
    order: dict[int, list[Point]]
    links: list[tuple[Point, Point]]
    passing: set[Point]

    @property
    def entrance(self) -> int:
        return self.rows.start - 1

    @property
    def exit(self) -> int:
        return self.rows.stop


def columns_of(nodes: list[Node], rows: list[Row], ranges: list[range]) -> list[Column]:
    r"""The points and links of each column; nodes are first in their rows, then come lanes."""
    row_of = {place: index for index, row in enumerate(rows) for place in row.nodes}
    readers = [[(reader, row_of[reader]) for reader in some] for some in readers_of(nodes)]
    columns = []
    for range_ in ranges:
        order = {row: [(place, row) for place in rows[row].nodes] for row in range_}
        column = Column(range_, {range_.start - 1: [], **order, range_.stop: []}, [], set())
        block_end = {rows[row].block: row for row in range_}
        ends = {row: block_end[rows[row].block] for row in range_}
        for source in row_of:
            _add_lane(column, source, row_of[source], readers[source], ends)
        columns.append(column)
    return columns


def _add_lane(
    column: Column, source: int, own: int, readers: list[Point], ends: dict[int, int]
) -> None:
    """Adds the lane of a node's value, given its row, its readers with theirs, and the last row of
    the block of each row."""
    here = [(reader, row) for reader, row in readers if row in column.rows]
    if own in column.rows:
        start = own + 1
        leaves = any(row >= column.exit for _, row in readers)
    elif here:
        start, leaves = column.entrance, False
    else:
        return
    last = column.exit if leaves else max((row - 1 for _, row in here), default=own)
    for row in range(start, last + 1):
        point = (source, row)
        column.order[row].append(point)
        if row > column.entrance:
            column.links.append(((source, row - 1), point))
        if row in ends and last >= ends[row]:
            column.passing.add(point)
    column.links += [((source, row - 1), (reader, row)) for reader, row in here]
