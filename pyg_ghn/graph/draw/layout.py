r"""Composes the picture of a graph. Lengths are in inches, y points down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from pyg_ghn.graph.draw.blocks import Block, blocks_of
from pyg_ghn.graph.draw.columns import break_into_columns
from pyg_ghn.graph.draw.coordinates import LANE_GAP, NODE_GAP
from pyg_ghn.graph.draw.labels import (
    FONT_SIZE,
    LINE_HEIGHT,
    NODE_HEIGHT,
    TIMES,
    description_of,
    label_of,
    node_width,
    path_of,
    text_width,
)
from pyg_ghn.graph.draw.lanes import columns_of
from pyg_ghn.graph.draw.nodes import Node, readers_of
from pyg_ghn.graph.draw.ordering import reduce_crossings
from pyg_ghn.graph.draw.pen import XY
from pyg_ghn.graph.draw.placement import COLUMN_GAP, Box, Placement
from pyg_ghn.graph.draw.rows import Row, rows_of
from pyg_ghn.graph.draw.style import INK, LINE, PAPER, STYLES, TITLE_SIZE

ASPECT = 1.4
MARGIN = 0.15
ROW_GAP, FAN_GAP = 0.15, 0.012  # between rows; more for each edge into a node
HEADER, FOOTER = 0.2, 0.12  # room for a block's name, and below its last row
LEGEND_WIDTH = 5.0  # at least; narrower pictures get this width


class Shape(NamedTuple):
    r"""A node, or its like in the legend, with all that is known of it."""

    op: str
    label: str
    description: str
    box: Box


class Text(NamedTuple):
    r"""Text from a left end on, on a ground that hides edges."""

    text: str
    left: float
    y: float
    color: str = INK
    ground: str = "#ffffff"
    size: float = FONT_SIZE


class Curve(NamedTuple):
    r"""An edge between two places in the list of nodes; for its points see
    :class:`~pyg_ghn.graph.draw.pen.Pen`. It ends where its arrow head begins, which points down."""

    source: int
    target: int
    points: list[XY]


@dataclass(frozen=True)
class Layout:
    r"""A picture that only has to be painted."""

    width: float
    height: float
    frames: list[Box]
    curves: list[Curve]
    nodes: list[Shape]
    legend: list[Shape]
    texts: list[Text]


def lay_out(nodes: list[Node], title: str) -> Layout:
    r"""Puts nodes into rows by depth, rows into blocks by module, blocks into columns.

    Args:
        nodes (list): The nodes, see :func:`~pyg_ghn.graph.draw.nodes.nodes_of`.
        title (str): The title.
    """
    blocks = blocks_of(nodes)
    rows = rows_of(nodes, blocks)
    block_of = [row.block for row in rows]
    row_of = {place: row for row, (_, places) in enumerate(rows) for place in places}
    labels = [label_of(node, blocks[block_of[row_of[i]]]) for i, node in enumerate(nodes)]
    widths = [node_width(node.op, label) for node, label in zip(nodes, labels, strict=True)]

    spaces = _spaces(nodes, rows, blocks)
    heights = [above + NODE_HEIGHT + below for above, below in spaces]
    ranges = break_into_columns(heights, _row_widths(nodes, rows, blocks, widths), block_of, ASPECT)
    columns = columns_of(nodes, rows, ranges)
    for column in columns:
        reduce_crossings(column)

    page = Placement(columns, row_of, widths)
    page.place_across(MARGIN, block_of, [text_width(path_of(block)) for block in blocks])
    width = max(page.width + MARGIN, LEGEND_WIDTH)
    legend, texts, top = _legend(nodes, width)
    page.place_down(top, spaces)
    frames, names = _frames(page, blocks, block_of)
    shapes = [
        Shape(node.op, label, description_of(node), page.box(i))
        for i, (node, label) in enumerate(zip(nodes, labels, strict=True))
    ]
    edges = ((pred, place) for place, node in enumerate(nodes) for pred in node.preds)
    curves = [Curve(*edge, page.curve(*edge)) for edge in edges]
    texts += [Text(title, MARGIN, MARGIN, size=TITLE_SIZE), *names]
    return Layout(width, page.height + MARGIN, frames, curves, shapes, legend, texts)


def _spaces(nodes: list[Node], rows: list[Row], blocks: list[Block]) -> list[tuple[float, float]]:
    """The space above and below each row."""
    spaces = []
    for index, (block, places) in enumerate(rows):
        framed = bool(blocks[block].path)
        first = index == 0 or rows[index - 1].block != block
        last = index == len(rows) - 1 or rows[index + 1].block != block
        edges = max(len(nodes[place].preds) for place in places)
        above = ROW_GAP + FAN_GAP * edges + HEADER * (framed and first)
        spaces.append((above, FOOTER * (framed and last)))
    return spaces


def _row_widths(
    nodes: list[Node], rows: list[Row], blocks: list[Block], widths: list[float]
) -> list[float]:
    """Estimates the width of each row with the lanes that pass through it."""
    row_of = {place: row for row, (_, places) in enumerate(rows) for place in places}
    lanes: Counter[int] = Counter()
    for place, readers in enumerate(readers_of(nodes)):
        end = max((row_of[reader] for reader in readers), default=0)
        lanes.update(range(row_of[place] + 1, end))
    estimates = []
    for row, (block, places) in enumerate(rows):
        inner = max(sum(widths[i] + NODE_GAP for i in places), text_width(path_of(blocks[block])))
        estimates.append(COLUMN_GAP + inner + 2 * LANE_GAP * lanes[row])  # there is a gutter too
    return estimates


def _legend(nodes: list[Node], width: float) -> tuple[list[Shape], list[Text], float]:
    """The primitives that occur, how often each, and where the graph may begin."""
    counts = Counter(node.op for node in nodes)
    legend, texts = [], []
    x, y = MARGIN, MARGIN + 2 * LINE_HEIGHT + NODE_HEIGHT
    for op in sorted(counts, key=list(STYLES).index):
        needed, number = node_width(op, op), f"{TIMES} {counts[op]}"
        if x + needed + text_width(number) > width - MARGIN:
            x, y = MARGIN, y + NODE_HEIGHT + LINE_HEIGHT
        legend.append(Shape(op, op, op, Box(x + needed / 2, y, needed, NODE_HEIGHT)))
        texts.append(Text(number, x + needed + 0.04, y))
        x += needed + text_width(number) + NODE_GAP
    return legend, texts, y + NODE_HEIGHT


def _frames(
    page: Placement, blocks: list[Block], block_of: list[int]
) -> tuple[list[Box], list[Text]]:
    """The frames of all blocks that are modules, a broken one has several, and their names."""
    frames, names = [], []
    for column, ends in zip(page.columns, page.ends, strict=True):
        for block, (left, right) in ends.items():
            if not blocks[block].path:
                continue
            rows = [row for row in column.rows if block_of[row] == block]
            top = page.tops[rows[0]] - HEADER
            height = page.tops[rows[-1]] + NODE_HEIGHT + FOOTER / 2 - top
            frames.append(Box((left + right) / 2, top + height / 2, right - left, height))
            where = left + 0.04, top + 0.8 * LINE_HEIGHT
            names.append(Text(path_of(blocks[block]), *where, LINE, PAPER))
    return frames, names
