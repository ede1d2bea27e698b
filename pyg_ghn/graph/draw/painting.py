r"""Paints a layout with matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.path import Path as Line

from pyg_ghn.graph.draw.labels import FONT_SIZE
from pyg_ghn.graph.draw.layout import Curve, Layout, Shape
from pyg_ghn.graph.draw.placement import ARROW
from pyg_ghn.graph.draw.style import FRAME, INK, LINE, OUTLINES, PAPER, STYLES

PEN = 0.6  # points


def paint(layout: Layout, path: Path, file_format: str, dpi: float) -> None:
    r"""Writes a layout to a file by way of matplotlib."""
    with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):  # text stays text
        figure_of(layout).savefig(path, format=file_format, dpi=dpi)


def figure_of(layout: Layout) -> Figure:
    r"""A figure of its own, without pyplot."""
    figure = Figure(figsize=(layout.width, layout.height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(layout.height, 0))
    axes.set_axis_off()
    for x, y, width, height in layout.frames:
        corner = x - width / 2, y - height / 2
        axes.add_patch(Rectangle(corner, width, height, fc=PAPER, ec=FRAME, lw=PEN, zorder=1))
    _add_edges(axes, layout.curves)
    for prefix, shapes in (("legend", layout.legend), ("n", layout.nodes)):
        for index, shape in enumerate(shapes):
            _add_node(axes, f"{prefix}{index}", shape)
    for text, left, y, color, ground, size in layout.texts:
        box = {"fc": ground, "ec": "none", "pad": 1}
        look = {"fontsize": size, "color": color, "bbox": box, "zorder": 3}
        axes.text(left, y, text, va="center", parse_math=False, **look)
    return figure


def _add_edges(axes: Axes, curves: list[Curve]) -> None:
    lines, heads = [], []
    for curve in curves:
        codes = [Line.MOVETO] + [Line.CURVE4] * (len(curve.points) - 1)
        lines.append(Line(curve.points, codes))
        x, y = curve.points[-1]
        heads.append([(x, y + ARROW), (x - ARROW / 2.5, y), (x + ARROW / 2.5, y)])
    axes.add_collection(PathCollection(lines, fc="none", ec=LINE, lw=PEN, zorder=2))
    axes.add_collection(PolyCollection(heads, fc=LINE, ec="none", zorder=2))


def _add_node(axes: Axes, name: str, shape: Shape) -> None:
    x, y, width, height = shape.box
    style = STYLES[shape.op]
    corners = np.array(OUTLINES[style.shape]) * (width, height) + (x, y)
    axes.add_patch(Polygon(corners, fc=style.fill, ec=INK, lw=PEN, zorder=4, gid=name))
    centre = {"ha": "center", "va": "center", "linespacing": 1.05, "zorder": 5, "parse_math": False}
    axes.text(x, y, shape.label, fontsize=FONT_SIZE, color=INK, **centre)
