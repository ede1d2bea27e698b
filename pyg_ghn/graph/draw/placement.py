r"""Where columns, rows and the lines between columns go. Lengths are in inches, y points down.

A value that goes on in another column leaves by the bottom of its own, runs along a track below all
columns, goes up in the gutter left of the other column and comes in from above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pyg_ghn.graph.draw.coordinates import horizontal_positions
from pyg_ghn.graph.draw.labels import NODE_HEIGHT
from pyg_ghn.graph.draw.lanes import Column, Point
from pyg_ghn.graph.draw.pen import XY, Pen

COLUMN_GAP = 0.25
TRACK = 0.06  # between parallel lines
ARROW = 0.05


class Box(NamedTuple):
    r"""A rectangle by its centre."""

    x: float
    y: float
    width: float
    height: float


class Placement:
    r"""Positions of everything; :meth:`place_across` comes first, then :meth:`place_down`.

    Args:
        columns (list): The columns.
        row_of (dict): Nodes to their rows.
        widths (list): The width of each node.

    Attributes:
        x: Points of each column to their centres.
        ends: Blocks of each column to their left and right ends.
        width: The right end of the last column.
        tops: The top of each row.
        start: The upper end of all columns.
        stop: The lower end of all columns.
    """

    def __init__(
        self, columns: list[Column], row_of: Mapping[int, int], widths: list[float]
    ) -> None:
        self.columns = columns
        self.row_of = row_of
        self.widths = widths
        self.x: list[dict[Point, float]] = []
        self.ends: list[dict[int, tuple[float, float]]] = []
        self.tops: list[float] = []
        self.width = self.start = self.stop = 0.0
        self._gutters: list[dict[int, float]] = []  # values that enter to where they go up
        self._tracks: dict[int, float] = {}  # values that leave to where they run along
        self._column_of = {row: i for i, column in enumerate(columns) for row in column.rows}

    def place_across(self, left: float, blocks: list[int], least: list[float]) -> None:
        r"""Places columns side by side, given the block of each row and the least width of each
        block."""
        widths = {(place, row): self.widths[place] for place, row in self.row_of.items()}
        for column in self.columns:
            x, ends, width = horizontal_positions(column, widths, blocks, least)
            entering = [source for source, _ in column.order[column.entrance]]
            left += TRACK * len(entering)
            # From right to left, so that lines that turn in do not cross.
            self._gutters.append({u: left - TRACK * (i + 1) for i, u in enumerate(entering)})
            self.x.append({point: left + value for point, value in x.items()})
            self.ends.append({block: (left + a, left + b) for block, (a, b) in ends.items()})
            self.width = left + width
            left = self.width + COLUMN_GAP

    def place_down(self, top: float, spaces: list[tuple[float, float]]) -> None:
        r"""Places rows one below the other, given the space above and below each."""
        self.start = top + TRACK * max(map(len, self._gutters))
        for column in self.columns:
            y = self.start
            for row in column.rows:
                above, below = spaces[row]
                self.tops.append(y + above)
                y += above + NODE_HEIGHT + below
            self.stop = max(self.stop, y)
        self._place_tracks()

    def _place_tracks(self) -> None:
        """Gives values that leave their columns the uppermost tracks that are free on their way."""
        spans = []
        for column, x in zip(self.columns, self.x, strict=True):
            for source, row in column.order[column.exit]:
                ups = [gutters[source] for gutters in self._gutters if source in gutters]
                spans.append((x[source, row], max(ups), source))
        taken: list[float] = []  # how far to the right each track is taken
        for start, end, source in sorted(spans):
            track = next((i for i, x in enumerate(taken) if x < start), len(taken))
            taken[track : track + 1] = [end]
            self._tracks[source] = self.stop + TRACK * (track + 1)

    @property
    def height(self) -> float:
        r"""The lower end of everything."""
        return max([self.stop, *self._tracks.values()])

    def box(self, place: int) -> Box:
        r"""The box of a node."""
        row = self.row_of[place]
        x = self.x[self._column_of[row]][place, row]
        return Box(x, self.tops[row] + NODE_HEIGHT / 2, self.widths[place], NODE_HEIGHT)

    def curve(self, source: int, target: int) -> list[XY]:
        r"""The way of an edge from node to node, up to its arrow head."""
        row, end = self.row_of[source], self.row_of[target]
        first, last = self._column_of[row], self._column_of[end]
        pen = Pen(self.x[first][source, row], self.tops[row] + NODE_HEIGHT)
        if first != last:
            below = self.columns[first].exit
            self._descend(pen, first, source, range(row + 1, below))
            pen.swing(self.x[first][source, below], self.stop)
            self._change_column(pen, source, last)
            row = self.columns[last].entrance
        self._descend(pen, last, source, range(row + 1, end))
        pen.swing(self.x[last][target, end], self.tops[end] - ARROW)
        return pen.points

    def _descend(self, pen: Pen, column: int, source: int, rows: range) -> None:
        for row in rows:
            x = self.x[column][source, row]
            pen.swing(x, self.tops[row])
            pen.line(x, self.tops[row] + NODE_HEIGHT)

    def _change_column(self, pen: Pen, source: int, column: int) -> None:
        """From the lower end of a column to the upper end of another."""
        gutters, track = self._gutters[column], self._tracks[source]
        turn = self.start - TRACK * (1 + list(gutters).index(source))
        x, up = self.x[column][source, self.columns[column].entrance], gutters[source]
        corners = [(pen.points[-1][0], track), (up, track), (up, turn), (x, turn)]
        pen.turns(corners, (x, self.start))
