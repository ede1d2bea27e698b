r"""Where the nodes and edges of a graph go. Lengths are in inches, y points down.

Nodes lie in rows by their depth within a block, and blocks are wrapped into columns like the lines
of a text. The value of a node runs down in one lane, from which an edge branches off to each node
that reads it. A value that goes on in another column leaves by the bottom of its own, runs along a
track below all columns, goes up in the gutter left of the other column and comes in from above.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable
from itertools import groupby, pairwise
from typing import NamedTuple

import networkx as nx
import numpy as np
from matplotlib.path import Path
from scipy.optimize import linprog

ASPECT, MAX_COLUMNS, MAX_PER_ROW, SWEEPS = 1.4, 40, 10, 12
NODE_HEIGHT, ARROW = 0.293, 0.05
NODE_GAP, LANE_GAP, PADDING = 0.14, 0.06, 0.1  # from left to right
ROW_GAP, FAN_GAP = 0.15, 0.012  # from row to row; more for each edge into a node
HEADER, FOOTER = 0.2, 0.06  # room for a block's name, and below its last row
COLUMN_GAP, TRACK, ROUNDING = 0.25, 0.06, 0.05

# What an inch costs: of slope within a lane, between lane and node, between nodes; of the width of
# a block and of a column.
SLOPE, BLOCK_WIDTH, COLUMN_WIDTH = (4.0, 1.0, 2.0), 0.5, 3.0
MAX_POINTS = 4000  # straightening the links between more of them would take minutes

Point = tuple[int, int]  # the value of a node in a row; in the node's own row, the node
Box = tuple[float, float, float, float]  # left, top, width, height


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


class _Row(NamedTuple):
    block: int
    nodes: list[int]
    height: float


def lay_out(graph: nx.DiGraph, blocks: list[Block]) -> Layout:
    r"""Lays out a graph such that all edges within a column go down.

    Args:
        graph (networkx.DiGraph): Nodes in topological order with an attribute :obj:`width`.
        blocks (list): The blocks; no edge goes from one to an earlier one.
    """
    rows: list[_Row] = []
    columns: list[range] = []
    for column in _wrap(graph, _rows(graph, blocks)):
        # A row without nodes above and below holds the values that enter and leave the column.
        columns.append(range(len(rows), len(rows) + len(column) + 2))
        rows += [_Row(-1, [], 0.0), *column, _Row(-1, [], 2 * FOOTER)]
    row_of = {node: i for i, row in enumerate(rows) for node in row.nodes}
    column_of = {row: column for column in columns for row in column}
    order, links, passing = _lanes(graph, rows, columns, row_of)

    start = TRACK * max(len(order[column[0]]) for column in columns)
    widths = {(node, row_of[node]): width for node, width in graph.nodes(data="width")}
    right, x, bottoms, gutters, frames = -COLUMN_GAP, {}, [], {}, []
    for column in columns:
        entering = order[column[0]]
        left = right + COLUMN_GAP + TRACK * len(entering)
        # From right to left, so that lines that turn in do not cross.
        gutters |= {point: left - TRACK * (i + 1) for i, point in enumerate(entering)}
        parts = {k: list(g) for k, g in groupby(column[1:-1], key=lambda row: rows[row].block)}
        members = {
            block: (blocks[block].width, [point for row in part for point in order[row]])
            for block, part in parts.items()
        }
        points, here = order[column[0] : column[-1] + 1], [e for e in links if e[0][1] in column]
        found = _align(points, widths, here, passing, members)
        x |= {point: left + found[point] for row in points for point in row}
        right = left + found["right"]
        bottoms += np.cumsum([start, *(rows[row].height for row in column[1:])]).tolist()
        for block, part in parts.items():
            if blocks[block].name:
                top = bottoms[part[0]] - NODE_HEIGHT - HEADER
                width = found["right", block] - found["left", block]
                height = bottoms[part[-1]] + FOOTER - top
                frames.append(
                    ((left + found["left", block], top, width, height), blocks[block].name)
                )
    stop = max(bottoms)

    tracks: dict[int, float] = {}  # values that leave their columns to where they run along
    taken: list[float] = []  # how far to the right each track is taken
    for left, source in sorted((x[p], p[0]) for column in columns for p in order[column[-1]]):
        track = next((i for i, end in enumerate(taken) if end < left), len(taken))
        taken[track : track + 1] = [max(up for point, up in gutters.items() if point[0] == source)]
        tracks[source] = stop + TRACK * (track + 1)

    def route(source: int, target: int) -> Path:
        row, end = row_of[source], row_of[target]
        enter, leave = column_of[end][0], column_of[row][-1]
        points = [(x[source, row], bottoms[row])]
        passed = range(row + 1, end)
        if leave < enter:
            turn = start - TRACK * (1 + order[enter].index((source, enter)))
            up, track = gutters[source, enter], tracks[source]
            passed = [*range(row + 1, leave), leave, *range(enter + 1, end)]
        for row in passed:
            here = x[source, row]
            if row == leave:
                points += [(here, stop), (here, track), (up, track), (up, turn)]
                points += [(x[source, enter], turn), (x[source, enter], start)]
            else:
                points += [(here, bottoms[row] - NODE_HEIGHT), (here, bottoms[row])]
        return _smooth([*points, (x[target, end], bottoms[end] - NODE_HEIGHT - ARROW)])

    nodes = {
        node: (x[node, row] - width / 2, bottoms[row] - NODE_HEIGHT, width, NODE_HEIGHT)
        for (node, row), width in widths.items()
    }
    edges = {edge: route(*edge) for edge in graph.edges}
    return Layout(nodes, frames, edges, right, max([stop, *tracks.values()]))


def _rows(graph: nx.DiGraph, blocks: list[Block]) -> list[_Row]:
    """Nodes by the longest path to them within their block, longer where a row is full."""
    rows = []
    for index, block in enumerate(blocks):
        levels: dict[int, list[int]] = defaultdict(list)
        level_of: dict[int, int] = {}
        for node in block.nodes:
            level = 1 + max((level_of.get(pred, -1) for pred in graph.pred[node]), default=-1)
            while len(levels[level]) == MAX_PER_ROW:
                level += 1
            level_of[node] = level
            levels[level].append(node)
        for level, nodes in sorted(levels.items()):
            fan = FAN_GAP * max(graph.in_degree(node) for node in nodes)
            gap = ROW_GAP + fan + (HEADER + FOOTER if level == 0 else 0.0)
            rows.append(_Row(index, nodes, gap + NODE_HEIGHT))
    return rows


def _wrap(graph: nx.DiGraph, rows: list[_Row]) -> list[list[_Row]]:
    """Breaks rows into columns, such that the whole gets the shape of a page. Columns end where
    blocks end, unless a block alone is higher than a column."""
    blocks = [list(block) for _, block in groupby(rows, key=lambda row: row.block)]
    row_of = {node: i for i, row in enumerate(rows) for node in row.nodes}
    lanes: Counter[int] = Counter()
    for node, row in row_of.items():
        lanes.update(range(row + 1, max((row_of[reader] for reader in graph[node]), default=0)))
    widths = {}
    for i, row in enumerate(rows):
        nodes = sum(graph.nodes[node]["width"] + NODE_GAP for node in row.nodes)
        widths[row.nodes[0]] = COLUMN_GAP + nodes + (LANE_GAP + TRACK) * lanes[i]

    def height(rows: list[_Row]) -> float:
        return sum(row.height for row in rows)

    def fill(limit: float) -> list[list[_Row]]:
        columns: list[list[_Row]] = [[]]
        for block in blocks:
            for unit in [block] if height(block) <= limit else [[row] for row in block]:
                if columns[-1] and height(columns[-1]) + height(unit) > limit:
                    columns.append([])
                columns[-1] += unit
        return columns

    def misfit(columns: list[list[_Row]]) -> float:
        high = max(map(height, columns))
        wide = sum(max(widths[row.nodes[0]] for row in column) for column in columns)
        unused = 1 - height(rows) / (len(columns) * high)
        return abs(math.log(wide / high / ASPECT)) + unused / 2

    limits = (2 * height(rows) / halves for halves in range(2, 2 * MAX_COLUMNS))
    return min(map(fill, limits), key=misfit)


def _lanes(
    graph: nx.DiGraph, rows: list[_Row], columns: list[range], row_of: dict[int, int]
) -> tuple[list[list[Point]], list[tuple[Point, Point]], dict[Point, int]]:
    """The points of each row in an order with few crossings, links between points of consecutive
    rows, and the points of lanes that pass by a whole block, with the last rows of these lanes."""
    order = [[(node, i) for node in row.nodes] for i, row in enumerate(rows)]
    links, passing = [], {}
    last_of_block = {
        row: max(other for other in column if rows[other].block == rows[row].block)
        for column in columns
        for row in column[1:-1]
    }
    for source, own in row_of.items():
        readers = [(reader, row_of[reader]) for reader in graph[source]]
        for column in columns:
            here = [(reader, row) for reader, row in readers if row in column]
            first = own if own in column else column[0]
            last = max((row - 1 for _, row in here), default=first)
            if own in column and len(here) < len(readers):
                last = column[-1]
            elif own not in column and not here:
                continue
            lane = [(source, row) for row in range(first, last + 1)]
            links += pairwise(lane)
            links += [((source, row - 1), (reader, row)) for reader, row in here]
            for point in lane[own in column :]:
                order[point[1]].append(point)
                if last >= last_of_block.get(point[1], len(rows)):
                    passing[point] = last

    # Points move to the mean place of those that they are linked to in the row before, in sweeps
    # down and up. Lanes that pass by a block go to the left of it.
    linked: dict[tuple[Point, int], list[Point]] = defaultdict(list)
    for upper, lower in links:
        linked[lower, -1].append(upper)
        linked[upper, 1].append(lower)
    place: dict[Point, int] = {}  # within the row before
    for sweep in range(SWEEPS):
        step = 1 if sweep % 2 else -1
        for points in order[::-step]:
            keys = {}
            for i, point in enumerate(points):
                places = [place[other] for other in linked[point, step]]
                keys[point] = (1, sum(places) / len(places) if places else i, i)
                if point in passing:  # the sooner it ends, the closer to the block
                    keys[point] = (0, -passing[point], point[0])
            points.sort(key=keys.__getitem__)
            place = {point: i for i, point in enumerate(points)}
    return order, links, passing


def _align(
    order: list[list[Point]],
    widths: dict[Point, float],
    links: list[tuple[Point, Point]],
    passing: dict[Point, int],
    blocks: dict[int, tuple[float, list[Point]]],
) -> dict[Hashable, float]:
    """The centres of a column's points, the left and right ends of its blocks, given their least
    widths and points, and its right end. Links are upright, neighbours apart and the column is
    narrow: a linear programme, whose variables are nodes and whose least distances are edges."""
    programme = nx.MultiDiGraph()
    programme.add_nodes_from((point for row in order for point in row), cost=0.0)
    programme.add_edges_from([(point, "right") for point in programme], least=0.0)
    programme.add_node("right", cost=COLUMN_WIDTH)
    for a, b in (pair for row in order for pair in pairwise(row)):
        gap = NODE_GAP if a in widths and b in widths else LANE_GAP
        programme.add_edge(a, b, least=(widths.get(a, 0) + widths.get(b, 0)) / 2 + gap)
    for block, (width, points) in blocks.items():
        left, right = ("left", block), ("right", block)
        programme.add_node(left, cost=-BLOCK_WIDTH)
        programme.add_node(right, cost=BLOCK_WIDTH)
        programme.add_edge(left, right, least=width)
        programme.add_edge(right, "right", least=0.0)
        for point in points:
            if point in passing:
                programme.add_edge(point, left, least=LANE_GAP)
            else:
                ends = [(left, point), (point, right)]
                programme.add_edges_from(ends, least=widths.get(point, 0) / 2 + PADDING)
    ports = {*order[0], *order[-1]}  # they count as nodes
    for link in links if len(programme) <= MAX_POINTS else ():
        price = SLOPE[sum(point in widths or point in ports for point in link)]
        programme.add_node(link, cost=2 * price)  # |a - b| = 2 max(a, b) - a - b
        for point in link:
            programme.nodes[point]["cost"] -= price
            programme.add_edge(point, link, least=0.0)
    cost = [cost for _, cost in programme.nodes(data="cost")]
    least = [least for *_, least in programme.edges(data="least")]
    distances = nx.incidence_matrix(programme, oriented=True).T
    solution = linprog(cost, -distances, np.negative(least), bounds=(0, None), method="highs")
    return dict(zip(programme, solution.x.round(3).tolist(), strict=True))


def _smooth(points: list[tuple[float, float]]) -> Path:
    """Joins points: sloping parts are swung like an S, right-angled corners are rounded."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for i, ((x0, y0), (x, y)) in enumerate(pairwise(points), 1):
        x2, y2 = points[i + 1] if i + 1 < len(points) else (x, y)
        if x == x0 == x2 and (x, y) != (x2, y2):
            continue
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
