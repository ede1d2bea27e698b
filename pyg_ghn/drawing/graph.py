r"""Pictures of computational graphs."""

import os
from collections import Counter, defaultdict
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from torch import nn
from torch_geometric.data import Batch, Data

from pyg_ghn.drawing.layout import ARROW, HEADER, NODE_GAP, NODE_HEIGHT, Block, Box, lay_out
from pyg_ghn.drawing.style import FRAME, INK, LINE, PAPER, STYLES, save_figure
from pyg_ghn.errors import GraphError
from pyg_ghn.graph import PRIMITIVES, from_module

SMALL, LARGE = 16, 32  # nodes: smaller modules are never split, larger ones wherever possible
MARGIN, MIN_WIDTH = 0.15, 5.0  # inches
FONT_SIZE, TITLE_SIZE, PEN = 7, 10, 0.6  # points
LETTER = 0.6 * FONT_SIZE / 72
MAX_NAME, MAX_PATH = 16, 25
DPI, MAX_PIXELS = 150, 6000  # resolution, and the longer side of large pictures
TIMES = "\N{MULTIPLICATION SIGN}"


def draw_graph(graph: Data | nn.Module, path: str | os.PathLike, title: str | None = None) -> Path:
    r"""Draws a computational graph: a node for each primitive with the name and shape of its
    parameter, framed by module and wrapped into columns like a text, with a legend.

    Args:
        graph (Data or torch.nn.Module): The graph, or a model to take it from, see
            :func:`~pyg_ghn.graph.from_module`.
        path (str or Path): The file to write, which ends in :obj:`.svg`, :obj:`.pdf` or
            :obj:`.png`. Nodes of an SVG show their full names and shapes under the mouse.
        title (str, optional): The title. (default: the model's class)

    Returns:
        The path of the file, which appears whole or not at all.

    Raises:
        ConfigError: If the kind of file is unknown.
        GraphError: If the model has no computational graph, or the graph is empty, a batch, or not
            as :func:`~pyg_ghn.graph.from_module` makes it.
        GHNError: If the file can't be written.
    """
    if isinstance(graph, nn.Module):
        title = title or type(graph).__name__
        graph = from_module(graph)
    nodes = _read(graph)
    figure = _paint(nodes, title)
    tooltips = {}
    for node, known in nodes.nodes.items():
        about = known["op"], known["name"], TIMES.join(map(str, known["shape"] or ()))
        tooltips[f"n{node}"] = f"{node}: {' '.join(filter(None, about))}"
    dpi = min(DPI, MAX_PIXELS / max(figure.get_size_inches()))
    return save_figure(figure, path, dpi, tooltips)


def _read(data: Data) -> nx.DiGraph:
    """The nodes in topological order with all that is drawn of them."""
    missing = [key for key in ("x", "edge_index", "param_name", "param_shape") if key not in data]
    if missing or isinstance(data, Batch) or not data.num_nodes:
        what = f"lacks {', '.join(missing)}" if missing else "is a batch or empty"
        raise GraphError(f"The graph {what}; draw one graph of `pyg_ghn.graph.from_module`.")
    ops = data.x.view(-1).tolist()
    if not set(ops) <= set(range(len(PRIMITIVES))):
        raise GraphError(f"`x` must hold rows of PRIMITIVES, 0 to {len(PRIMITIVES) - 1}.")
    flow = nx.DiGraph()
    flow.add_nodes_from(range(data.num_nodes))
    flow.add_edges_from(edge for edge in data.edge_index.t().tolist() if edge[0] != edge[1])
    graph = nx.DiGraph()
    try:
        graph.add_nodes_from(nx.lexicographical_topological_sort(flow))
    except nx.NetworkXUnfeasible as error:
        raise GraphError("The graph has a cycle; only acyclic graphs can be drawn.") from error
    graph.add_edges_from(flow.edges)
    for node, known in graph.nodes.items():
        name, shape = data.param_name[node], data.param_shape[node]
        layer = tuple(name.split(".")[:-1]) if name else ()
        known.update(op=PRIMITIVES[ops[node]], name=name, shape=shape, layer=layer)
    return graph


def _blocks(graph: nx.DiGraph) -> list[tuple[tuple[str, ...], list[int]]]:
    """Splits a model into the modules of which it is a sequence (``layer1.0``, ``layer1.1``, ...),
    and each of these likewise as long as it is large. Parallel branches stay together. No edge goes
    from a block to an earlier one: a module that is left and entered again has several blocks."""
    # A node without a parameter joins the latest node that it reads, or, as the first of a branch,
    # the node that reads it; between two modules of the model itself it belongs to neither.
    layers: dict[int, tuple[str, ...]] = {}
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for node, known in graph.nodes.items():
        layer, preds = known["layer"], list(graph.pred[node])
        if not known["name"] and preds:
            layer = layers[max(preds)]
            after = next((graph.nodes[reader]["layer"] for reader in graph[node]), ())
            if len(preds) == 1 and after:
                starts_branch = graph.out_degree(preds[0]) > 1
                layer = after if starts_branch else layer if after[:1] == layer[:1] else ()
        layers[node] = layer
        for depth in range(max(len(layer), 1)):  # a layer is no module that could be split
            members[layer[:depth]].append(node)
    has_layers = {layer[:-1] for layer in layers.values()}

    split = set()
    for path, whole in members.items():
        parts = [part for other, part in members.items() if other and other[:-1] == path]
        if len(whole) > (LARGE if path in has_layers else SMALL) and all(
            any(nx.edge_boundary(graph, whole[: whole.index(part[0])], part)) for part in parts[1:]
        ):
            split.add(path)
    blocks: list[tuple[tuple[str, ...], list[int]]] = []
    block_of: dict[int, int] = {}
    latest: dict[tuple[str, ...], int] = {}
    for node, layer in layers.items():
        path = ()
        while len(path) < len(layer) - 1 and path in split:
            path = layer[: len(path) + 1]
        index = latest.get(path, -1)
        if index < max((block_of[pred] for pred in graph.pred[node]), default=0):
            index = latest[path] = len(blocks)
            blocks.append((path, []))
        blocks[index][1].append(node)
        block_of[node] = index
    return blocks


def _shortened(path: tuple[str, ...], limit: int) -> str:
    """The last components of a path that fit."""
    whole = ".".join(path)
    if len(whole) <= limit:
        return whole
    end = whole[1 - limit :]
    return "…" + end[end.find(".", 0, -1) + 1 :]


def _text_width(text: str, room: float = 1.0) -> float:
    return max(map(len, text.split("\n"))) * LETTER * room + 0.13 * room


def _paint(graph: nx.DiGraph, title: str | None) -> Figure:
    """A figure of its own, without pyplot; nodes have the id ``nI``, edges ``eI-J``."""
    blocks = []
    for path, nodes in _blocks(graph):
        name = _shortened(path, MAX_PATH)
        blocks.append(Block(name, _text_width(name), nodes))
        for known in map(graph.nodes.get, nodes):
            op, layer = known["op"], _shortened(known["layer"][len(path) :], MAX_NAME)
            label = layer if layer.startswith(op) else f"{op} {layer}".strip()
            if known["shape"]:  # pooling has a kernel, no channels
                shape = known["shape"] if known["name"] else known["shape"][2:]
                label += "\n" + TIMES.join(map(str, shape or known["shape"]))
            known["label"] = label
            known["width"] = max(_text_width(label, STYLES[op].room), NODE_HEIGHT)
    layout = lay_out(graph, blocks)

    counts, legend, x, y = Counter(op for _, op in graph.nodes(data="op")), {}, 0.0, 0.0
    width = max(layout.width, MIN_WIDTH)
    for op in (op for op in STYLES if op in counts):
        needed = max(_text_width(op, STYLES[op].room), NODE_HEIGHT)
        number = _text_width(f"{TIMES} {counts[op]}")
        if x + needed + number > width:
            x, y = 0.0, y + 1.5 * NODE_HEIGHT
        legend[op] = x, y, needed, NODE_HEIGHT
        x += needed + number + NODE_GAP
    top = -y - 1.8 * NODE_HEIGHT  # of the legend; the graph begins at 0

    left, right, start, stop = -MARGIN, width + MARGIN, top - 0.6, layout.height + MARGIN
    figure = Figure((right - left, stop - start))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(stop, start))
    axes.set_axis_off()
    line = {"edgecolor": LINE, "linewidth": PEN, "clip_on": False}
    text = {"fontsize": FONT_SIZE, "va": "center", "parse_math": False}

    def shape(gid: str, op: str, label: str, box: Box) -> None:
        x, y, width, height = box
        outline = STYLES[op].outline
        corners = outline.vertices * (width, height) + (x + width / 2, y + height / 2)
        look = {**line, "facecolor": STYLES[op].fill, "edgecolor": INK, "gid": gid, "zorder": 4}
        axes.add_patch(PathPatch(Outline(corners, outline.codes), **look))
        centre = {"ha": "center", "linespacing": 1.05, "color": INK, "zorder": 5, **text}
        axes.text(x + width / 2, y + height / 2, label, **centre)

    for (x, y, width, height), name in layout.frames:
        look = {**line, "facecolor": PAPER, "edgecolor": FRAME, "zorder": 1}
        axes.add_patch(Rectangle((x, y), width, height, **look))
        ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        axes.text(x + 0.04, y + 0.47 * HEADER, name, color=LINE, zorder=3, bbox=ground, **text)
    for op, (x, y, width, height) in legend.items():
        shape(f"legend-{op}", op, op, (x, y + top, width, height))
        where = x + width + 0.04, y + top + height / 2
        axes.text(*where, f"{TIMES} {counts[op]}", color=INK, **text)
    for node, box in layout.nodes.items():
        known = graph.nodes[node]
        shape(f"n{node}", known["op"], known["label"], box)
    heads = []
    for source, target in graph.edges:
        path = layout.route(source, target)
        heads.append(path.vertices[-1])
        axes.add_patch(PathPatch(path, fill=False, gid=f"e{source}-{target}", zorder=2, **line))
    marker = {"marker": [(-0.4, 0), (0.4, 0), (0, -1)], "markersize": 2 * 72 * ARROW}
    look = {"linestyle": "", "color": LINE, "markeredgewidth": 0, "clip_on": False, "zorder": 2}
    axes.plot(*np.reshape(heads, (-1, 2)).T, **marker, **look)
    counted = f"{len(graph)} nodes, {graph.number_of_edges()} edges"
    caption = f"{title}: {counted}" if title else counted
    axes.text(0, start + MARGIN, caption, color=INK, **{**text, "fontsize": TITLE_SIZE})
    return figure
