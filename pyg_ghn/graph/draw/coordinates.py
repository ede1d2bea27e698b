r"""Positions from left to right within a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from pyg_ghn.graph.draw.lanes import Column, Point

NODE_GAP, LANE_GAP, FRAME_PADDING = 0.14, 0.06, 0.1  # inches

# What an inch costs: of a sloping link between two nodes, between a node and a lane, within a lane;
# of the width of a block and of the column.
NODES, BRANCH, LANE = 2.0, 1.0, 4.0
BLOCK, COLUMN = 0.5, 3.0

MAX_POINTS = 4000


class _Programme:
    """Minimizes weighted distances and widths, given least distances between variables."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.distances: list[tuple[int, int, float]] = []

    def variable(self, cost: float = 0.0) -> int:
        self.cost.append(cost)
        return len(self.cost) - 1

    def keep_apart(self, left: int, right: int, distance: float) -> None:
        self.distances.append((left, right, distance))

    def interval(self, weight: float, members: Iterable[tuple[int, float]]) -> tuple[int, int]:
        """Around variables with a margin each."""
        left, right = self.variable(-weight), self.variable(weight)
        for member, margin in members:
            self.keep_apart(left, member, margin)
            self.keep_apart(member, right, margin)
        return left, right

    def pull_together(self, a: int, b: int, weight: float) -> None:
        """Makes |a - b| = 2 max(a, b) - a - b cost something."""
        maximum = self.variable(2 * weight)
        for member in (a, b):
            self.cost[member] -= weight
            self.keep_apart(member, maximum, 0.0)

    def solve(self) -> list[float]:
        left, right, distance = (np.array(values) for values in zip(*self.distances, strict=True))
        row = np.arange(len(distance))
        ones = np.ones(len(distance))
        values = np.concatenate([ones, -ones]), (np.tile(row, 2), np.concatenate([left, right]))
        matrix = coo_array(values, shape=(len(distance), len(self.cost))).tocsr()
        return linprog(self.cost, matrix, -distance, bounds=(0, None), method="highs").x.tolist()


def horizontal_positions(
    column: Column, widths: Mapping[Point, float], blocks: list[int], least: list[float]
) -> tuple[dict[Point, float], dict[int, tuple[float, float]], float]:
    r"""Places the points of a column such that links are upright, neighbours apart and the column
    is narrow: a linear programme in the positions.

    Args:
        column (Column): The column.
        widths (dict): The width of each node; lanes have none.
        blocks (list): The block that each row belongs to.
        least (list): The least width of each block.

    Returns:
        The centre of each point, the left and right end of each block, and the width of the column.
    """
    programme = _Programme()
    widths = {point: width for point, width in widths.items() if point[1] in column.rows}
    at = {point: programme.variable() for points in column.order.values() for point in points}
    for points in column.order.values():
        for a, b in pairwise(points):
            gap = NODE_GAP if a in widths and b in widths else LANE_GAP
            programme.keep_apart(at[a], at[b], (widths.get(a, 0) + widths.get(b, 0)) / 2 + gap)
    # More of them take minutes; the order and the distances alone make a picture, too.
    for a, b in column.links if len(at) <= MAX_POINTS else ():
        ends = sum(point in widths or point[1] not in column.rows for point in (a, b))
        programme.pull_together(at[a], at[b], (LANE, BRANCH, NODES)[ends])
    ends_of = {}
    for block in sorted({blocks[row] for row in column.rows}):
        points = [p for row in column.rows if blocks[row] == block for p in column.order[row]]
        ends_of[block] = _enclose(programme, column, points, at, widths)
        programme.keep_apart(*ends_of[block], least[block])
    members = [*at.values(), *(end for ends in ends_of.values() for end in ends)]
    start, stop = programme.interval(COLUMN, [(member, 0.0) for member in members])
    solution = programme.solve()
    x = [value - solution[start] for value in solution]
    return (
        {point: x[variable] for point, variable in at.items()},
        {block: (x[left], x[right]) for block, (left, right) in ends_of.items()},
        x[stop],
    )


def _enclose(
    programme: _Programme,
    column: Column,
    points: list[Point],
    at: Mapping[Point, int],
    widths: Mapping[Point, float],
) -> tuple[int, int]:
    """The left and right end of a block, given its points and the lanes that pass left of it."""
    inside = [point for point in points if point not in column.passing]
    margins = [(at[point], widths.get(point, 0) / 2 + FRAME_PADDING) for point in inside]
    left, right = programme.interval(BLOCK, margins)
    for point in column.passing.intersection(points):
        programme.keep_apart(at[point], left, LANE_GAP)
    return left, right
