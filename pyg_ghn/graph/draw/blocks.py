r"""Groups the nodes of a graph by the modules that their parameters belong to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from pyg_ghn.graph.draw.nodes import Node, readers_of

Path = tuple[str, ...]

SMALL, LARGE = 16, 32  # nodes: smaller modules are never split, larger ones wherever possible


@dataclass
class Block:
    r"""Nodes to be drawn together.

    Attributes:
        path: The module; empty for layers of the model itself.
        nodes: Places of the nodes, ascending.
    """

    path: Path
    nodes: list[int] = field(default_factory=list)


def blocks_of(nodes: list[Node]) -> list[Block]:
    r"""Splits a model into the modules of which it is a sequence (:obj:`layer1.0`,
    :obj:`layer1.1`, ...), and each of these likewise as long as it is large. Parallel branches
    stay together. No edge goes from a block to an earlier one: a module that is left and entered
    again has several blocks.
    """
    layers = _layers(nodes)
    split = _split_modules(nodes, layers)
    blocks: list[Block] = []
    latest: dict[Path, int] = {}
    block_of: list[int] = []
    for place, (node, layer) in enumerate(zip(nodes, layers, strict=True)):
        path = _block_path(layer, split)
        index = latest.get(path, -1)
        if index < max((block_of[pred] for pred in node.preds), default=0):
            index = latest[path] = len(blocks)
            blocks.append(Block(path))
        blocks[index].nodes.append(place)
        block_of.append(index)
    return blocks


def _layers(nodes: list[Node]) -> list[Path]:
    """The layer of each node. One without a parameter joins the latest node that it reads, or, as
    the first node of a branch, the node that reads it; between two modules of the model itself it
    belongs to neither."""
    readers = readers_of(nodes)
    layers: list[Path] = []
    for place, node in enumerate(nodes):
        layer = node.layer
        if not node.name and node.preds:
            layer = layers[node.preds[-1]]
            after = next((nodes[reader].layer for reader in readers[place]), ())
            if len(node.preds) == 1 and after:
                starts_branch = len(readers[node.preds[0]]) > 1
                layer = after if starts_branch else layer if after[:1] == layer[:1] else ()
        layers.append(layer)
    return layers


def _block_path(layer: Path, split: set[Path]) -> Path:
    """The module of a layer that is drawn as one block."""
    depth = 0
    while depth < len(layer) - 1 and layer[:depth] in split:
        depth += 1
    return layer[:depth]


def _split_modules(nodes: list[Node], layers: list[Path]) -> set[Path]:
    """The modules that are split into their children."""
    members: dict[Path, list[int]] = defaultdict(list)
    for place, layer in enumerate(layers):
        for depth in range(max(len(layer), 1)):  # a layer is no module that could be split
            members[layer[:depth]].append(place)
    children: dict[Path, list[list[int]]] = defaultdict(list)
    for path, places in members.items():
        if path:
            children[path[:-1]].append(places)
    has_layers = {layer[:-1] for layer in layers}
    return {
        path
        for path, places in members.items()
        if len(places) > (LARGE if path in has_layers else SMALL)
        and _is_sequence(nodes, set(places), children[path])
    }


def _is_sequence(nodes: list[Node], whole: set[int], parts: list[list[int]]) -> bool:
    """Whether each part but the first reads some earlier node of the whole."""
    return all(
        any(pred in whole and pred < part[0] for place in part for pred in nodes[place].preds)
        for part in sorted(parts)[1:]
    )
