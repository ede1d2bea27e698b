r"""Paints a layout with Graphviz, of which only the program is needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pyg_ghn.errors import GHNError
from pyg_ghn.graph.draw.labels import FONT_SIZE, LETTER, LINE_HEIGHT
from pyg_ghn.graph.draw.layout import MARGIN, Layout
from pyg_ghn.graph.draw.pen import XY
from pyg_ghn.graph.draw.placement import ARROW, Box
from pyg_ghn.graph.draw.style import FRAME, INK, LINE, PAPER, STYLES

PROGRAM = "dot"
POINTS = 72  # per inch
SHAPES = {"rounded": 'shape=box, style="filled,rounded"'}  # all others have the same name


def has_graphviz() -> bool:
    r"""Whether Graphviz is installed."""
    return shutil.which(PROGRAM) is not None


def paint(layout: Layout, path: Path, file_format: str, dpi: float) -> None:
    r"""Writes a layout to a file by way of Graphviz.

    Raises:
        GHNError: If Graphviz is missing or fails.
    """
    # -n2: all positions are given, there is nothing to lay out.
    command = [PROGRAM, "-Kneato", "-n2", f"-T{file_format}", "-o", path]
    if file_format == "png":
        command.append(f"-Gdpi={dpi:.0f}")
    try:
        subprocess.run(command, input=to_dot(layout).encode(), capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error).encode()
        raise GHNError(
            f"Graphviz can't draw: {reason.decode(errors='replace').strip()}; install it, or draw "
            "with the backend 'matplotlib'."
        ) from error


def to_dot(layout: Layout) -> str:
    r"""A layout in Graphviz's language, with the positions of everything."""
    lines = [
        f"graph [outputorder=edgesfirst, pad={MARGIN}, margin=0]",
        f'node [fontname="Helvetica", fontsize={FONT_SIZE}, fontcolor="{INK}", color="{INK}", '
        "penwidth=0.6, style=filled, fixedsize=true, margin=0]",
        f'edge [color="{LINE}", penwidth=0.6, arrowsize={ARROW * POINTS / 10}]',
        *_statements(layout),
    ]
    return "\n  ".join(["digraph {", *lines]) + "\n}\n"


def _statements(layout: Layout) -> Iterator[str]:
    def points(*positions: XY) -> str:  # Graphviz's y points up
        return " ".join(
            f"{x * POINTS:.1f},{(layout.height - y) * POINTS:.1f}" for x, y in positions
        )

    def node(name: str, label: str, box: Box, look: str) -> str:
        size = f"width={box.width:.3f}, height={box.height:.3f}"
        return f'{name} [label={label}, pos="{points(box[:2])}", {size}, {look}]'

    for index, (x, y, width, height) in enumerate(layout.frames):
        corners = (x - width / 2, y + height / 2), (x + width / 2, y - height / 2)
        bounds = points(*corners).replace(" ", ",")
        look = f'style=filled, fillcolor="{PAPER}", color="{FRAME}"'
        yield f'subgraph cluster_{index} {{ graph [bb="{bounds}", {look}] }}'
    for prefix, shapes in (("legend", layout.legend), ("n", layout.nodes)):
        for index, shape in enumerate(shapes):
            style = STYLES[shape.op]
            look = SHAPES.get(style.shape, f"shape={style.shape}")
            look += f', fillcolor="{style.fill}", tooltip={_quoted(shape.description)}'
            yield node(f"{prefix}{index}", _quoted(shape.label), shape.box, look)
    for curve in layout.curves:
        x, y = curve.points[-1]
        way = f"e,{points((x, y + ARROW))} {points(*curve.points)}"
        yield f'n{curve.source} -> n{curve.target} [pos="{way}"]'
    for index, (text, left, y, color, ground, size) in enumerate(layout.texts):
        width = len(text) * LETTER * size / FONT_SIZE
        box = Box(left + width / 2, y, width, LINE_HEIGHT * size / FONT_SIZE)
        look = f'shape=plaintext, fontsize={size}, fontcolor="{color}", fillcolor="{ground}"'
        yield node(f"text{index}", _quoted(text)[:-1] + '\\l"', box, look)  # \l: to the left


def _quoted(text: str) -> str:
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(character, escaped)
    return f'"{text}"'
