r"""Puts the nodes of each block into rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from pyg_ghn.graph.draw.blocks import Block
from pyg_ghn.graph.draw.nodes import Node

MAX_PER_ROW = 10  # wider rows are broken


class Row(NamedTuple):
    r"""Nodes side by side.

    Attributes:
        block: Index of the block that they all belong to.
        nodes: Places of the nodes.
    """

    block: int
    nodes: list[int]


def rows_of(nodes: list[Node], blocks: list[Block]) -> list[Row]:
    r"""The rows of all blocks, one below the other. Every edge goes down."""
    rows = []
    for index, block in enumerate(blocks):
        levels: dict[int, list[int]] = defaultdict(list)
        for place, level in _levels(nodes, block.nodes).items():
            levels[level].append(place)
        rows += [Row(index, levels[level]) for level in sorted(levels)]
    return rows


def _levels(nodes: list[Node], members: list[int]) -> dict[int, int]:
    """The longest path to each member within its block, longer where a row is full."""
    level_of: dict[int, int] = {}
    taken: Counter[int] = Counter()
    for place in members:
        level = 1 + max((level_of.get(pred, -1) for pred in nodes[place].preds), default=-1)
        while taken[level] == MAX_PER_ROW:
            level += 1
        level_of[place] = level
        taken[level] += 1
    return level_of
