r"""Where the nodes and edges of a graph go. Lengths are in inches, y points down.

Nodes lie in rows by their depth within a block, and blocks are wrapped into columns like the lines
of a text. The value of a node runs down in one lane, from which an edge branches off to each node
that reads it. A value that goes on in another column leaves by the bottom of its own, runs along a
track below all columns, goes up in the gutter left of the other column and comes in from above.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import groupby, pairwise
from typing import NamedTuple

import networkx as nx
import numpy as np
from matplotlib.path import Path
from scipy.optimize import linprog
from scipy.sparse import coo_array

ASPECT, MAX_COLUMNS, MAX_PER_ROW = 1.4, 40, 10
NODE_HEIGHT, ARROW = 0.293, 0.05
NODE_GAP, LANE_GAP, PADDING = 0.14, 0.06, 0.1  # from left to right
ROW_GAP, FAN_GAP = 0.15, 0.012  # from row to row; more for each edge into a node
HEADER, FOOTER = 0.2, 0.12  # room for a block's name, and below its last row
COLUMN_GAP, TRACK, ROUNDING = 0.25, 0.06, 0.05

# What an inch costs: of slope within a lane, between lane and node, between nodes; of the width of
# a block and of a column.
SLOPE, BLOCK_WIDTH, COLUMN_WIDTH = (4.0, 1.0, 2.0), 0.5, 3.0
MAX_POINTS = 4000  # straightening the links between more of them would take minutes
SWEEPS = 13

Point = tuple[int, int]  # the value of a node in a row; in the node's own row, the node


class Box(NamedTuple):
    r"""A rectangle by its left upper corner."""

    left: float
    top: float
    width: float
    height: float


class Block(NamedTuple):
    r"""Nodes to be drawn together; with a name they get a frame of at least some width."""

    name: str
    width: float
    nodes: list[int]


class Layout(NamedTuple):
    r"""The box of each node, the box and name of each frame, the path of each edge up to its arrow
    head, which points down, and the size of it all."""

    nodes: dict[int, Box]
    frames: list[tuple[Box, str]]
    edges: dict[tuple[int, int], Path]
    width: float
    height: float


def lay_out(graph: nx.DiGraph, blocks: list[Block]) -> Layout:
    r"""Lays out a graph such that all edges within a column go down.

    Args:
        graph (networkx.DiGraph): Nodes in topological order with an attribute :obj:`width`.
        blocks (list): The blocks; no edge goes from one to an earlier one.
    """
    block_of, rows, spaces = [], [], []
    for index, block in enumerate(blocks):
        levels = _levels(graph, block.nodes)
        for place, nodes in enumerate(levels):
            above = ROW_GAP + FAN_GAP * max(graph.in_degree(node) for node in nodes)
            below = FOOTER if block.name and place == len(levels) - 1 else 0.0
            spaces.append((above + (HEADER if block.name and place == 0 else 0.0), below))
            block_of.append(index)
            rows.append(nodes)
    row_of = {node: row for row, nodes in enumerate(rows) for node in nodes}
    columns = [
        _Column(graph, row_of, range_, block_of)
        for range_ in _wrap(graph, rows, row_of, spaces, block_of)
    ]
    column_of = {row: column for column in columns for row in column.rows}

    right = -COLUMN_GAP
    for column in columns:
        entering = [source for source, _ in column.order[column.entrance]]
        left = right + COLUMN_GAP + TRACK * len(entering)
        # From right to left, so that lines that turn in do not cross.
        column.gutters = {source: left - TRACK * (i + 1) for i, source in enumerate(entering)}
        right = column.place(left, blocks)
    start = TRACK * max(len(column.gutters) for column in columns)
    stop, tops, frames = 0.0, [], []
    for column in columns:
        y = start
        for row in column.rows:
            tops.append(y + spaces[row][0])
            y = tops[-1] + NODE_HEIGHT + spaces[row][1]
        stop = max(stop, y)
        for index, (left, end) in column.frames.items():
            inside = [row for row in column.rows if block_of[row] == index]
            top, bottom = tops[inside[0]] - HEADER, tops[inside[-1]] + NODE_HEIGHT + FOOTER / 2
            if blocks[index].name:
                frames.append((Box(left, top, end - left, bottom - top), blocks[index].name))

    spans = []  # of values that leave their columns
    for column in columns:
        for source, row in column.order[column.exit]:
            ups = [other.gutters[source] for other in columns if source in other.gutters]
            spans.append((column.x[source, row], max(ups), source))
    taken: list[float] = []  # how far to the right each track is taken
    tracks = {}
    for left, end, source in sorted(spans):
        track = next((i for i, x in enumerate(taken) if x < left), len(taken))
        taken[track : track + 1] = [end]
        tracks[source] = stop + TRACK * (track + 1)

    def route(source: int, target: int) -> Path:
        row, end = row_of[source], row_of[target]
        column, last = column_of[row], column_of[end]
        points = [(column.x[source, row], tops[row] + NODE_HEIGHT)]
        if column is not last:
            points += _lane(column, source, range(row + 1, column.exit), tops)
            x, up = column.x[source, column.exit], last.gutters[source]
            points += [(x, stop), (x, tracks[source]), (up, tracks[source])]
            x, row = last.x[source, last.entrance], last.entrance
            turn = start - TRACK * (1 + list(last.gutters).index(source))
            points += [(up, turn), (x, turn), (x, start)]
        points += _lane(last, source, range(row + 1, end), tops)
        return _smooth([*points, (last.x[target, end], tops[end] - ARROW)])

    nodes = {}
    for node, width in graph.nodes(data="width"):
        row = row_of[node]
        nodes[node] = Box(column_of[row].x[node, row] - width / 2, tops[row], width, NODE_HEIGHT)
    edges = {edge: route(*edge) for edge in graph.edges}
    return Layout(nodes, frames, edges, right, max([stop, *tracks.values()]))


def _levels(graph: nx.DiGraph, nodes: list[int]) -> list[list[int]]:
    """Nodes by the longest path to them within their block, longer where a row is full."""
    levels: dict[int, list[int]] = defaultdict(list)
    level_of: dict[int, int] = {}
    for node in nodes:
        level = 1 + max((level_of.get(pred, -1) for pred in graph.pred[node]), default=-1)
        while len(levels[level]) == MAX_PER_ROW:
            level += 1
        level_of[node] = level
        levels[level].append(node)
    return [levels[level] for level in sorted(levels)]


def _wrap(graph, rows, row_of, spaces, block_of) -> list[range]:
    """The rows of each column, such that the whole gets the shape of a page. Columns end where
    blocks end, unless a block alone is higher than a column."""
    heights = [above + NODE_HEIGHT + below for above, below in spaces]
    lanes: Counter[int] = Counter()
    for node, row in row_of.items():
        lanes.update(range(row + 1, max((row_of[reader] for reader in graph[node]), default=0)))
    widths = [
        COLUMN_GAP
        + sum(graph.nodes[node]["width"] + NODE_GAP for node in nodes)
        + 0.12 * lanes[row]
        for row, nodes in enumerate(rows)
    ]
    blocks = [list(group) for _, group in groupby(range(len(rows)), key=block_of.__getitem__)]

    def fill(limit: float) -> list[list[int]]:
        columns: list[list[int]] = [[]]
        used = 0.0
        for block in blocks:
            whole = sum(heights[row] for row in block) <= limit
            for unit in [block] if whole else [[row] for row in block]:
                height = sum(heights[row] for row in unit)
                if columns[-1] and used + height > limit:
                    columns.append([])
                    used = 0.0
                columns[-1] += unit
                used += height
        return columns

    def misfit(columns: list[list[int]]) -> float:
        height = max(sum(heights[row] for row in column) for column in columns)
        width = sum(max(widths[row] for row in column) for column in columns)
        unused = 1 - sum(heights) / (len(columns) * height)
        return abs(math.log(width / height / ASPECT)) + unused / 2

    limits = (2 * sum(heights) / halves for halves in range(2, 2 * MAX_COLUMNS))
    return [range(c[0], c[-1] + 1) for c in min(map(fill, limits), key=misfit)]


class _Column:
    """Points in consecutive rows, from left to right, and links between them. One row more above
    and one below the others hold the values that enter and leave the column."""

    def __init__(self, graph: nx.DiGraph, row_of: dict[int, int], rows: range, block_of: list[int]):
        self.rows, self.entrance, self.exit = rows, rows.start - 1, rows.stop
        self.blocks = {
            block: list(group) for block, group in groupby(rows, key=block_of.__getitem__)
        }
        self.widths = {  # of points that are nodes
            (node, row_of[node]): width
            for node, width in graph.nodes(data="width")
            if row_of[node] in rows
        }
        self.order: dict[int, list[Point]] = {
            row: [] for row in range(rows.start - 1, rows.stop + 1)
        }
        self.links: list[tuple[Point, Point]] = []
        self.passing: dict[Point, int] = {}  # lanes that pass by a whole block, to their last rows
        for point in self.widths:
            self.order[point[1]].append(point)
        for source in graph:
            self._add_lane(source, row_of[source], [(i, row_of[i]) for i in graph[source]])
        self._reduce_crossings()

    def _add_lane(self, source: int, own: int, readers: list[Point]) -> None:
        here = [(reader, row) for reader, row in readers if row in self.rows]
        if own not in self.rows and not here:
            return
        start = own if own in self.rows else self.entrance
        leaves = own in self.rows and any(row >= self.exit for _, row in readers)
        last = self.exit if leaves else max((row - 1 for _, row in here), default=own)
        lane = [(source, row) for row in range(start, last + 1)]
        for point in lane:
            if point not in self.widths:
                self.order[point[1]].append(point)
        self.links += [
            *pairwise(lane),
            *(((source, row - 1), (reader, row)) for reader, row in here),
        ]
        ends = {row: rows[-1] for rows in self.blocks.values() for row in rows}
        self.passing |= {p: last for p in lane if last >= ends.get(p[1], math.inf)}

    def _reduce_crossings(self) -> None:
        """Moves points to the mean place of those that they are linked to in the row before, in
        sweeps down and up. Lanes that pass by a block go to the left of it."""
        linked: dict[tuple[Point, int], list[Point]] = defaultdict(list)
        for upper, lower in self.links:
            linked[lower, -1].append(upper)
            linked[upper, 1].append(lower)
        for sweep in range(SWEEPS):
            step = 1 if sweep % 2 else -1
            for row in sorted(self.order, reverse=step > 0):
                place = {point: i for i, point in enumerate(self.order.get(row + step, ()))}
                keys = {}
                for i, point in enumerate(self.order[row]):
                    places = [place[other] for other in linked[point, step]]
                    keys[point] = (1, np.mean(places) if places else i, i)
                    if point in self.passing:  # the sooner it ends, the closer to the block
                        keys[point] = (0, -self.passing[point], point[0])
                self.order[row].sort(key=keys.__getitem__)

    def place(self, start: float, blocks: list[Block]) -> float:
        """Sets the centres of all points, the left and right ends of blocks, and returns the right
        end of the column, such that links are upright, neighbours apart and the column is narrow:
        a linear programme."""
        at = {point: i for i, point in enumerate(p for row in self.order.values() for p in row)}
        cost = [0.0] * len(at)

        def variable(price: float) -> int:
            cost.append(price)
            return len(cost) - 1

        stop = variable(COLUMN_WIDTH)
        apart = [(i, stop, 0.0) for i in at.values()]  # variables left and right, least distance
        for a, b in (pair for points in self.order.values() for pair in pairwise(points)):
            gap = NODE_GAP if a in self.widths and b in self.widths else LANE_GAP
            apart.append((at[a], at[b], (self.widths.get(a, 0) + self.widths.get(b, 0)) / 2 + gap))
        for a, b in self.links if len(at) <= MAX_POINTS else ():
            price = SLOPE[sum(p in self.widths or p[1] not in self.rows for p in (a, b))]
            maximum = variable(2 * price)  # |a - b| = 2 max(a, b) - a - b
            for end in (at[a], at[b]):
                cost[end] -= price
                apart.append((end, maximum, 0.0))
        ends = {}
        for block, rows in self.blocks.items():
            left, right = ends[block] = variable(-BLOCK_WIDTH), variable(BLOCK_WIDTH)
            apart += [(left, right, blocks[block].width), (right, stop, 0.0)]
            for point in (point for row in rows for point in self.order[row]):
                margin = self.widths.get(point, 0) / 2 + PADDING
                inside = [(left, at[point], margin), (at[point], right, margin)]
                apart += [(at[point], left, LANE_GAP)] if point in self.passing else inside
        left, right, distance = map(np.array, zip(*apart, strict=True))
        row, ones = np.arange(len(apart)), np.ones(len(apart))
        entries = np.concatenate([ones, -ones]), (np.tile(row, 2), np.concatenate([left, right]))
        matrix = coo_array(entries, shape=(len(apart), len(cost))).tocsr()
        x = start + linprog(cost, matrix, -distance, bounds=(0, None), method="highs").x
        x = x.round(3).tolist()
        self.x = {point: x[i] for point, i in at.items()}
        self.frames = {block: (x[left], x[right]) for block, (left, right) in ends.items()}
        return x[stop]


def _lane(
    column: _Column, source: int, rows: range, tops: list[float]
) -> list[tuple[float, float]]:
    """Both ends of each row that the value of a node passes."""
    xs = ((column.x[source, row], row) for row in rows)
    return [(x, y) for x, row in xs for y in (tops[row], tops[row] + NODE_HEIGHT)]


def _smooth(points: list[tuple[float, float]]) -> Path:
    """Joins points: sloping parts are swung like an S, right-angled corners are rounded."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for i, ((x0, y0), (x, y)) in enumerate(pairwise(points), 1):
        x2, y2 = points[i + 1] if i + 1 < len(points) else (x, y)
        if x != x0 and y != y0:
            vertices += [(x0, (y0 + y) / 2), (x, (y0 + y) / 2), (x, y)]
            codes += [Path.CURVE4] * 3
        elif (x, y) != (x2, y2) and (x == x0) == (y == y2) and (x == x2) == (y == y0):
            r = min(ROUNDING, (abs(x - x0) + abs(y - y0)) / 2, (abs(x2 - x) + abs(y2 - y)) / 2)
            before = x + r * np.sign(x0 - x), y + r * np.sign(y0 - y)
            vertices += [before, (x, y), (x + r * np.sign(x2 - x), y + r * np.sign(y2 - y))]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        else:
            vertices.append((x, y))
            codes.append(Path.LINETO)
    return Path(vertices, codes)
