r"""The text on nodes and blocks, and how much room it takes. Lengths are in inches."""

from __future__ import annotations

from itertools import accumulate

from pyg_ghn.graph.draw.blocks import Block
from pyg_ghn.graph.draw.nodes import Node
from pyg_ghn.graph.draw.style import STYLES

FONT_SIZE = 7  # points
LETTER, LINE_HEIGHT = 0.6 * FONT_SIZE / 72, 1.2 * FONT_SIZE / 72
TIMES = "\N{MULTIPLICATION SIGN}"
PADDING = 0.13
NODE_HEIGHT = 2 * LINE_HEIGHT + 0.06
MAX_NAME, MAX_PATH = 16, 25


def label_of(node: Node, block: Block) -> str:
    r"""The primitive with the name of the layer within its block, and the shape below."""
    name = _shortened(node.layer[len(block.path) :], MAX_NAME)
    first = name if name.startswith(node.op) else f"{node.op} {name}".strip()
    if not node.shape:
        return first
    shape = node.shape if node.name else node.shape[2:]  # pooling has a kernel, no channels
    return f"{first}\n{TIMES.join(map(str, shape or node.shape))}"


def path_of(block: Block) -> str:
    r"""The name of a block; empty for layers of the model itself."""
    return _shortened(block.path, MAX_PATH)


def description_of(node: Node) -> str:
    r"""All that is known of a node."""
    shape = TIMES.join(map(str, node.shape)) if node.shape else None
    return " ".join(filter(None, (f"{node.index}: {node.op}", node.name, shape)))


def text_width(text: str) -> float:
    r"""The width of a text of one or more lines, with some room around."""
    return max(map(len, text.split("\n"))) * LETTER + PADDING


def node_width(op: str, label: str) -> float:
    r"""The width of a node."""
    style = STYLES[op]
    if style.shape == "circle":
        return NODE_HEIGHT
    return max(text_width(label) * style.room, 1.2 * NODE_HEIGHT)


def _shortened(path: tuple[str, ...], limit: int) -> str:
    """The last components of a path that fit, at least one."""
    whole = ".".join(path)
    if len(whole) <= limit or len(path) == 1:
        return whole if len(whole) <= limit else f"…{whole[1 - limit :]}"
    ends = list(accumulate(reversed(path), lambda end, part: f"{part}.{end}"))
    return "…" + max((end for end in ends if len(end) < limit), key=len, default=ends[0])
