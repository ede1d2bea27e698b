r"""Where the nodes and edges of a graph go. Lengths are in inches, y points down.

Nodes lie in rows by their depth within a block, and blocks are wrapped into columns like the lines
of a text. A block is cut into upright strips: a node continues the strip of a value that it reads.
Where a value is read further down, it has a lane: a strip of its own if all that read it are in one
block, else one left of the column's blocks. A value that goes on in another column runs along a
track below all columns, goes up in the gutter left of the other column and comes in from above.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import networkx as nx
import numpy as np
from matplotlib.path import Path

ASPECT, MAX_COLUMNS, MAX_PER_ROW = 1.4, 40, 10
NODE_HEIGHT, ARROW = 0.293, 0.05
NODE_GAP, LANE_GAP, PADDING = 0.16, 0.06, 0.04  # from left to right
ROW_GAP, FAN_GAP = 0.15, 0.012  # from row to row; more for each edge into a node
HEADER, FOOTER = 0.2, 0.06  # room for a block's name, and below its last row
COLUMN_GAP, TRACK, ROUNDING = 0.25, 0.06, 0.05

# A node, the lane of a value in column i, or where it enters the column, -1 - i.
Key = int | tuple[int, int]
Box = tuple[float, float, float, float]  # left, top, width, height


class Block(NamedTuple):
    r"""Nodes to be drawn together; with a name they get a frame of at least some width."""

    name: str
    width: float
    nodes: list[int]


class Layout(NamedTuple):
    r"""The box of each node, the box and name of each frame, a function to the path of an edge up
    to its arrow head, which points down, and the size of it all."""

    nodes: dict[int, Box]
    frames: list[tuple[Box, str]]
    route: Callable[[int, int], Path]
    width: float
    height: float


class _Row(NamedTuple):
    block: Block
    nodes: list[int]
    height: float


@dataclass
class _Strip:
    widths: dict[int, float] = field(default_factory=dict)  # of what is in its rows
    holds: list[Key] = field(default_factory=list)


def lay_out(graph: nx.DiGraph, blocks: list[Block]) -> Layout:
    r"""Lays out a graph, whose nodes are in topological order and have a :obj:`width`, on the
    smallest page of some shape. Edges within a column go down, between blocks forward."""
    units = []  # the rows of each block
    for block in blocks:
        levels: dict[int, list[int]] = defaultdict(list)
        level_of: dict[int, int] = {}
        for node in block.nodes:  # by the longest path to it, or below full rows
            level = 1 + max((level_of.get(pred, -1) for pred in graph.pred[node]), default=-1)
            while len(levels[level]) == MAX_PER_ROW:
                level += 1
            level_of[node] = level
            levels[level].append(node)
        rows = []
        for level, nodes in sorted(levels.items()):
            gap = ROW_GAP + FAN_GAP * max(graph.in_degree(node) for node in nodes)
            gap += 0 if level else HEADER + FOOTER
            rows.append(_Row(block, nodes, gap + NODE_HEIGHT))
        units.append(rows)

    best, least = None, float("inf")
    total = sum(row.height for rows in units for row in rows)
    for halves in range(2, 2 * MAX_COLUMNS):
        columns, limit = [[]], 2 * total / halves
        for rows in units:  # is divided only if it is higher than a column
            whole = sum(row.height for row in rows) <= limit
            for part in [rows] if whole else [[row] for row in rows]:
                if columns[-1] and sum(row.height for row in columns[-1] + part) > limit:
                    columns.append([])
                columns[-1] += part
        layout = _arrange(graph, columns)
        page = max(layout.width, ASPECT * layout.height)
        if page < least:
            best, least = layout, page
        if layout.width > least:  # as it is with even more columns
            break
    return best


def _arrange(graph: nx.DiGraph, columns: list[list[_Row]]) -> Layout:
    """Places rows that are wrapped into columns."""
    where = {
        node: (i, j)
        for i, rows in enumerate(columns)
        for j, row in enumerate(rows)
        for node in row.nodes
    }
    lanes: list[dict[int, range]] = [{} for _ in columns]  # value to rows between it and readers
    for source, target in graph.edges:
        (home, row), (column, end) = where[source], where[target]
        stop = max(end, lanes[column].get(source, range(0)).stop)
        lanes[column][source] = range(row + 1 if home == column else 0, stop)
        if home != column:
            lanes[home][source] = range(row + 1, len(columns[home]) + 1)
    entering = [[value for value in lanes[i] if where[value][0] < i] for i in range(len(columns))]

    start, right = TRACK * max(map(len, entering)), -COLUMN_GAP
    x: dict[Key, float] = {}
    nodes, bottoms, frames, ways = {}, [], [], {}
    for i, rows in enumerate(columns):
        bottoms.append((start + np.cumsum([row.height for row in rows])).tolist())
        gutter = {value: lane for value, lane in lanes[i].items() if lane.start < len(rows)}
        parts, j = [], 0
        for block, part in groupby(rows, lambda row: row.block):
            own = dict(enumerate((row.nodes for row in part), j))
            j += len(own)
            inner = {v: at for v, at in gutter.items() if j - len(own) <= at.start <= at.stop < j}
            gutter = {value: lane for value, lane in gutter.items() if value not in inner}
            parts.append((block, min(own), max(own), *_cut(graph, own, inner, i)))
        left = right + COLUMN_GAP + TRACK * len(entering[i])
        for k, value in enumerate(sorted(gutter, key=lambda v: (-gutter[v].stop, v))):
            x[value, i] = left + LANE_GAP * k

        spine = left + LANE_GAP * len(gutter) + PADDING - min(part[4] for part in parts)
        for block, row, end, found, first, last in parts:
            x |= {key: spine + at for key, at in found.items()}
            width = max(last - first, block.width)
            right = max(right, spine + first + width)
            if block.name:
                top = bottoms[i][row] - NODE_HEIGHT - HEADER
                box = (spine + first, top, width, bottoms[i][end] + FOOTER - top)
                frames.append((box, block.name))
        # From right to left, so that lines that turn in do not cross.
        enter = {value: x.get((value, ~i)) or x[value, i] for value in entering[i]}
        for k, value in enumerate(sorted(enter, key=enter.get), 1):
            ways[value, i] = left - TRACK * k, start - TRACK * k, enter[value]

    # Values that leave their columns run along tracks, which are free again behind their ends.
    low, tracks, taken = max(max(y) for y in bottoms) + 2 * FOOTER, {}, []
    leaving = {value: x.get((value, where[value][0]), x[value]) for value, _ in ways}
    for value, leaves in sorted(leaving.items(), key=lambda item: item[1]):
        track = next((k for k, end in enumerate(taken) if end < leaves), len(taken))
        taken[track : track + 1] = [max(way[0] for (v, _), way in ways.items() if v == value)]
        tracks[value] = low + TRACK * (track + 1)

    def route(source: int, target: int) -> Path:
        (home, row), (column, end) = where[source], where[target]
        points = [(x[source], bottoms[home][row])]

        def go_to(to: float, column: int, row: int) -> None:
            top = bottoms[column][row] - NODE_HEIGHT - ARROW
            if to != points[-1][0]:
                points.append((points[-1][0], bottoms[column][row] - columns[column][row].height))
            points.append((to, top))

        row += 1
        if home != column:
            if row < len(columns[home]):
                go_to(x[source, home], home, row)
            (up, over, enter), track = ways[source, column], tracks[source]
            points += [(points[-1][0], track), (up, track), (up, over), (enter, over)]
            row = 0
        if row < end:
            go_to(x[source, column], column, row)
        go_to(x[target], column, end)
        return _smooth(points)

    for node, width in graph.nodes(data="width"):
        column, row = where[node]
        top = bottoms[column][row] - NODE_HEIGHT
        nodes[node] = x[node] - width / 2, top, width, NODE_HEIGHT
    return Layout(nodes, frames, route, right, max([low, *tracks.values()]))


def _cut(
    graph: nx.DiGraph, rows: dict[int, list[int]], lanes: dict[int, range], column: int
) -> tuple[dict[Key, float], float, float]:
    """Where things are in a part of a column, given its rows and the lanes of values that are read
    in it only, and the ends of the part."""
    strips: list[_Strip] = []  # from left to right
    strip_of: dict[int, _Strip] = {}  # where values have come so far

    def take(key: Key, rows: range, width: float, beside: list[_Strip]) -> _Strip:
        """The leftmost of some strips or one to the right of it, a new one if none is free."""
        beside = sorted(beside, key=strips.index)
        right = strips[strips.index(beside[0]) + 1 :] if beside else strips
        free = (s for s in [*beside, *right] if rows[0] not in s.widths)
        strip = next(free, None)
        if strip is None:
            strip = _Strip()
            strips.insert(len(strips) - len(right) if beside else len(strips), strip)
        strip.widths |= dict.fromkeys(rows, width)
        strip.holds.append(key)
        return strip

    first = min(rows)
    for value, lane in reversed(lanes.items()):  # the value of the block before on the left
        if lane.start == first:
            strip_of[value] = take((value, ~column), range(first - 1, first), LANE_GAP, [])
    for row, nodes in rows.items():
        read = {node: [strip_of[v] for v in graph.pred[node] if v in strip_of] for node in nodes}
        branches = []
        for node in nodes:
            if read[node] and all(row in strip.widths for strip in read[node]):
                branches.insert(0, node)
                continue
            width = graph.nodes[node]["width"] + NODE_GAP
            strip_of[node] = take(node, range(row, row + 1), width, read[node])
        for node in branches:  # each beside the value that it reads, left of those before
            width = graph.nodes[node]["width"] + NODE_GAP
            strip_of[node] = take(node, range(row, row + 1), width, read[node])
        for value, lane in lanes.items():
            if lane.start == row < lane.stop:
                strip_of[value] = take((value, column), lane, LANE_GAP, [strip_of[value]])

    left = -max(strips[0].widths.values()) / 2
    x: dict[Key, float] = {}
    ends: dict[int, float] = defaultdict(lambda: left)  # of rows
    for strip in strips:
        at = max(ends[row] + width / 2 for row, width in strip.widths.items())
        ends |= {row: at + width / 2 for row, width in strip.widths.items()}
        x |= dict.fromkeys(strip.holds, at)
    return x, left, max(ends.values())


def _smooth(points: list[tuple[float, float]]) -> Path:
    """Joins points: sloping legs are swung like an S, right-angled corners are rounded."""
    vertices, codes = [points[0]], [Path.MOVETO]
    legs = np.diff(points, axis=0)
    for (x, y), leg, after in zip(points[1:], legs, [*legs[1:], np.zeros(2)], strict=True):
        if leg.all():
            middle = y - leg[1] / 2
            vertices += [(x - leg[0], middle), (x, middle), (x, y)]
            codes += [Path.CURVE4] * 3
        elif after.any() and leg @ after == 0:
            r = min(ROUNDING, abs(leg).sum() / 2, abs(after).sum() / 2)
            vertices += [(x, y) - r * np.sign(leg), (x, y), (x, y) + r * np.sign(after)]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        else:
            vertices.append((x, y))
            codes.append(Path.LINETO)
    return Path(vertices, codes)
