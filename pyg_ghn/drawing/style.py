r"""How each primitive looks, and how pictures are saved."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError, GHNError, WriteError

FORMATS = (".svg", ".pdf", ".png")

INK, LINE, FRAME, PAPER = "#1c1f24", "#5b616c", "#c4c8ce", "#f6f7f9"
r"""Colours of text, of edges, of the frame of a block and of the ground within."""

SERIES = ("#8b9099", "#2463b0", "#d1603d", "#2a9d6f", "#8a5aab", "#c9a227", "#4aa5c4", "#b0447a")
r"""Colours of what is compared in a plot; the first is that of random initialization."""


class Style(NamedTuple):
    """The look of a node."""

    fill: str  # colour, light enough for dark text
    room: float  # width of the shape over that of the text in it; a circle is as wide as high
    outline: Outline  # the shape in a box of size one around the origin, y downwards


def _polygon(corners: str) -> Outline:
    """A closed path, given its corners in percent."""
    points = np.array([corner.split(",") for corner in corners.split()], dtype=float) / 100
    return Outline([*points, points[0]], closed=True)


_ELLIPSE = Outline(Outline.unit_circle().vertices / 2, Outline.unit_circle().codes)
_CORNERS = np.sign(_ELLIPSE.vertices.round(9)) * (0.3, 0.25)
_ROUNDED = Outline(_ELLIPSE.vertices * (0.4, 0.5) + _CORNERS, _ELLIPSE.codes)
_COMPONENT = "-45,-50 50,-50 50,50 -45,50 -45,35 -50,35 -50,-35 -45,-35"
_OCTAGON = "-21,-50 21,-50 50,-21 50,21 21,50 -21,50 -50,21 -50,-21"

STYLES = {
    "input": Style("#ffffff", 1.0, _polygon("0,-50 50,-20 50,50 -50,50 -50,-20")),
    "conv": Style("#77aadd", 1.0, _polygon("-50,-50 50,-50 50,50 -50,50")),
    "sep_conv": Style("#99ddff", 1.35, _polygon("-30,-50 50,-50 30,50 -50,50")),
    "dil_conv": Style("#44bb99", 1.35, _polygon("-25,-50 25,-50 50,0 25,50 -25,50 -50,0")),
    "bias": Style("#dddddd", 1.25, _ELLIPSE),
    "bn": Style("#eedd88", 1.0, _ROUNDED),
    "ln": Style("#ee8866", 1.4, _polygon(_OCTAGON)),
    "msa": Style("#ffaabb", 1.5, _polygon("0,-50 50,-12 31,50 -31,50 -50,-12")),
    "cse": Style("#bbcc33", 1.9, _polygon("0,-50 50,0 0,50 -50,0")),
    "pos_enc": Style("#ccbbee", 1.1, _polygon("-50,-50 42,-50 50,-25 50,50 -50,50")),
    "sum": Style("#ffffff", 0.0, _ELLIPSE),
    "concat": Style("#ffffff", 1.5, _polygon("-30,-50 30,-50 50,50 -50,50")),
    "max_pool": Style("#c2c24d", 1.4, _polygon("-50,-50 50,-50 30,50 -30,50")),
    "avg_pool": Style("#e6e0b0", 1.0, _polygon("-50,-50 50,-50 50,20 0,50 -50,20")),
    "glob_avg": Style("#ddb892", 1.1, _polygon(_COMPONENT)),
}
r"""Primitive to its look. No two share a shape; the colours are those of Paul Tol's light scheme,
made to be told apart with any kind of colour vision, and a few between them."""


def plain(axes: Axes) -> None:
    r"""Leaves little but the data: horizontal lines, no frame."""
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FRAME)


def save_figure(
    figure: Figure,
    path: str | os.PathLike,
    dpi: float | str = "figure",
    tooltips: Mapping[str, str] | None = None,
) -> Path:
    r"""Writes a figure to a file, which ends in one of :obj:`FORMATS` and appears whole or not at
    all. :obj:`tooltips` is what an SVG shows under the mouse, by the ids of artists."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        *others, last = FORMATS
        raise ConfigError(
            f"Can't draw '{path}': the name must end in {', '.join(others)} or {last}."
        )
    kind = path.suffix[1:].lower()
    # Text stays text, and the same picture is the same file.
    settings = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "pyg_ghn"}
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        with rc_context(settings), atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=undated)
            if kind == "svg" and tooltips:
                parts = temporary.read_text(encoding="utf-8").split('<g id="')
                for i, (name, _, rest) in enumerate(part.partition('">') for part in parts):
                    if name in tooltips:
                        parts[i] = f'{name}"><title>{escape(tooltips[name])}</title>{rest}'
                temporary.write_text('<g id="'.join(parts), encoding="utf-8")
    except WriteError:
        raise
    except OSError as error:
        raise GHNError(f"Can't write the picture '{path}': {error}.") from error
    return path
