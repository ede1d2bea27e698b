r"""Draws the curve of an edge."""

from __future__ import annotations

from collections.abc import Sequence

XY = tuple[float, float]

ROUNDING = 0.05  # inches


class Pen:
    r"""A Bezier curve that grows: a start, then two control points and an end for each part.

    Args:
        x (float): Where it starts.
        y (float): Where it starts.
    """

    def __init__(self, x: float, y: float) -> None:
        self.points: list[XY] = [(x, y)]

    def line(self, x: float, y: float) -> None:
        r"""Goes straight."""
        (x0, y0) = self.points[-1]
        thirds = ((x0 + (x - x0) * part, y0 + (y - y0) * part) for part in (1 / 3, 2 / 3))
        self.points += [*thirds, (x, y)]

    def swing(self, x: float, y: float) -> None:
        r"""Goes down or up in an S that starts and ends upright."""
        (x0, y0) = self.points[-1]
        middle = (y0 + y) / 2
        self.points += [(x0, middle), (x, middle), (x, y)]

    def turns(self, corners: Sequence[XY], end: XY) -> None:
        r"""Goes through right-angled corners, rounded, to an end."""
        for corner, after in zip(corners, [*corners[1:], end], strict=True):
            before = self.points[-1]
            radius = min(ROUNDING, _distance(before, corner) / 2, _distance(corner, after) / 2)
            self.line(*_towards(corner, before, radius))
            control, leave = _towards(corner, after, radius / 2), _towards(corner, after, radius)
            self.points += [_towards(corner, before, radius / 2), control, leave]
        self.line(*end)


def _distance(a: XY, b: XY) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(a: XY, b: XY, length: float) -> XY:
    whole = _distance(a, b)
    part = length / whole if whole else 0.0
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part
