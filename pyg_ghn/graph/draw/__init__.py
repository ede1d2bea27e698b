r"""Pictures of computational graphs."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from torch import nn
from torch_geometric.data import Data

from pyg_ghn._pictures import picture_file
from pyg_ghn.errors import ConfigError
from pyg_ghn.graph.convert import from_module
from pyg_ghn.graph.draw import dot
from pyg_ghn.graph.draw.layout import Layout, lay_out
from pyg_ghn.graph.draw.nodes import nodes_of

__all__ = ["draw", "to_dot"]

BACKENDS = {"graphviz": "pyg_ghn.graph.draw.dot", "matplotlib": "pyg_ghn.graph.draw.painting"}
r"""Backend to the module that paints with it."""

DPI, MAX_PIXELS = 150, 6000  # resolution, and the longer side of large pictures


def draw(
    graph: Data | nn.Module,
    path: str | os.PathLike,
    title: str | None = None,
    backend: str | None = None,
) -> Path:
    r"""Draws a computational graph: a node for each primitive with the name and shape of its
    parameter, framed by module and wrapped into columns like a text, with a legend.

    Args:
        graph (Data or torch.nn.Module): The graph, or a model to take it from, see
            :func:`~pyg_ghn.graph.from_module`.
        path (str or Path): The file to write, which ends in :obj:`.svg`, :obj:`.pdf` or
            :obj:`.png`. In an SVG of Graphviz, nodes show all that is known of them under the
            mouse.
        title (str, optional): The title. (default: the model's class)
        backend (str, optional): :obj:`"graphviz"` or :obj:`"matplotlib"`.
            (default: Graphviz where its program is installed)

    Returns:
        The path of the file, which appears whole or not at all.

    Raises:
        ConfigError: If the backend or the kind of file is unknown.
        GraphError: If the model has no computational graph, or the graph is no such.
        GHNError: If the file can't be written, or Graphviz fails.
    """
    backend = backend or ("graphviz" if dot.has_graphviz() else "matplotlib")
    if backend not in BACKENDS:
        raise ConfigError(f"Unknown backend '{backend}', choose one of {', '.join(BACKENDS)}.")
    with picture_file(path) as (temporary, file_format):
        layout = _layout(graph, title)
        dpi = min(DPI, MAX_PIXELS / max(layout.width, layout.height))
        importlib.import_module(BACKENDS[backend]).paint(layout, temporary, file_format, dpi)
    return Path(path)


def to_dot(graph: Data | nn.Module, title: str | None = None) -> str:
    r"""The picture of :func:`draw` in Graphviz's language. All positions are in it: show it by
    :obj:`neato -n2`."""
    return dot.to_dot(_layout(graph, title))


def _layout(graph: Data | nn.Module, title: str | None) -> Layout:
    if isinstance(graph, nn.Module):
        title = title or type(graph).__name__
        graph = from_module(graph)
    nodes = nodes_of(graph)
    counts = f"{len(nodes)} nodes, {sum(len(node.preds) for node in nodes)} edges"
    return lay_out(nodes, f"{title}: {counts}" if title else counts)
