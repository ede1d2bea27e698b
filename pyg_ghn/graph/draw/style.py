r"""How each primitive looks, in every kind of picture."""

from __future__ import annotations

import math
from typing import NamedTuple

TITLE_SIZE = 10  # points

Corner = tuple[float, float]

INK, LINE, FRAME, PAPER = "#1c1f24", "#5b616c", "#c4c8ce", "#f6f7f9"
r"""Colours of text, of edges, of the frame of a block and of the ground within."""


class Style(NamedTuple):
    r"""The look of a node.

    Attributes:
        fill: Colour, light enough for dark text.
        shape: A key of :obj:`OUTLINES`.
        room: Width of the shape over that of the text in it.
    """

    fill: str
    shape: str
    room: float = 1.0


STYLES: dict[str, Style] = {
    "input": Style("#ffffff", "house"),
    "conv": Style("#77aadd", "box"),
    "sep_conv": Style("#99ddff", "parallelogram", 1.35),
    "dil_conv": Style("#44bb99", "hexagon", 1.35),
    "bias": Style("#dddddd", "ellipse", 1.25),
    "bn": Style("#eedd88", "rounded"),
    "ln": Style("#ee8866", "octagon", 1.4),
    "msa": Style("#ffaabb", "pentagon", 1.5),
    "cse": Style("#bbcc33", "diamond", 1.9),
    "pos_enc": Style("#ccbbee", "note", 1.1),
    "sum": Style("#ffffff", "circle"),
    "concat": Style("#ffffff", "trapezium", 1.5),
    "max_pool": Style("#c2c24d", "invtrapezium", 1.4),
    "avg_pool": Style("#e6e0b0", "invhouse"),
    "glob_avg": Style("#ddb892", "component", 1.1),
}
r"""Primitive to its look. No two share a shape; the colours are those of Paul Tol's light scheme,
made to be told apart with any kind of colour vision, and a few between them."""


def _polygon(corners: str) -> list[Corner]:
    """Corners in percent."""
    return [tuple(int(value) / 100 for value in corner.split(",")) for corner in corners.split()]


def _arc(x: float, y: float, width: float, height: float, start: int, stop: int) -> list[Corner]:
    """Corners on an ellipse around (x, y), between two angles in degrees."""
    angles = (math.radians(angle) for angle in range(start, stop + 1, 10))
    return [(x + width * math.cos(a) / 2, y + height * math.sin(a) / 2) for a in angles]


OUTLINES: dict[str, list[Corner]] = {
    "box": _polygon("-50,-50 50,-50 50,50 -50,50"),
    "circle": _arc(0, 0, 1, 1, 0, 350),
    "component": _polygon(
        "-45,-50 50,-50 50,50 -45,50 -45,35 -50,35 -50,15 -45,15 -45,-15 -50,-15 -50,-35 -45,-35"
    ),
    "diamond": _polygon("0,-50 50,0 0,50 -50,0"),
    "ellipse": _arc(0, 0, 1, 1, 0, 350),
    "hexagon": _polygon("-25,-50 25,-50 50,0 25,50 -25,50 -50,0"),
    "house": _polygon("0,-50 50,-20 50,50 -50,50 -50,-20"),
    "invhouse": _polygon("-50,-50 50,-50 50,20 0,50 -50,20"),
    "invtrapezium": _polygon("-50,-50 50,-50 30,50 -30,50"),
    "note": _polygon("-50,-50 42,-50 50,-25 50,50 -50,50"),
    "octagon": _polygon("-21,-50 21,-50 50,-21 50,21 21,50 -21,50 -50,21 -50,-21"),
    "parallelogram": _polygon("-30,-50 50,-50 30,50 -50,50"),
    "pentagon": _polygon("0,-50 50,-12 31,50 -31,50 -50,-12"),
    "rounded": [
        *_arc(0.4, 0.25, 0.2, 0.5, 0, 90),
        *_arc(-0.4, 0.25, 0.2, 0.5, 90, 180),
        *_arc(-0.4, -0.25, 0.2, 0.5, 180, 270),
        *_arc(0.4, -0.25, 0.2, 0.5, 270, 360),
    ],
    "trapezium": _polygon("-30,-50 30,-50 50,50 -50,50"),
}
r"""Corners of each shape in a box of size one around the origin, y downwards."""
