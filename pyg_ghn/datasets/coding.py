r"""From architectures to the codes that a file stores, and back."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from pyg_ghn.datasets.block import Networks
from pyg_ghn.datasets.record import NetworkRecord
from pyg_ghn.datasets.shapes import POOLING, Formula, shape_formulas
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX

NO_NODE = -1
_INPUT = PRIMITIVE_INDEX["input"]
_NORMS = {PRIMITIVE_INDEX["bn"], PRIMITIVE_INDEX["ln"]}
_POOLS = {PRIMITIVE_INDEX["max_pool"], PRIMITIVE_INDEX["avg_pool"]}
_MAX_NODES = _MAX_EDGES = np.iinfo(np.uint16).max
_MAX_CELLS = _MAX_DEGREE = np.iinfo(np.uint8).max


class Kind(NamedTuple):
    r"""What the code of a node stands for."""

    op: int
    r"""Row of :obj:`PRIMITIVES`, or :obj:`NO_NODE` for a parameter that no node stands for."""
    name: str
    r"""Name of the parameter within its cell; :obj:`""` for none."""
    formula: Formula | None
    r"""The parameter's shape."""

    @property
    def bias_name(self) -> str | None:
        r"""Name of the bias of a normalization, which has no node of its own."""
        return bias_name(self.op, self.name)


def bias_name(op: int, param_name: str) -> str | None:
    r"""Name of the bias that belongs to a normalization's weight."""
    return param_name.removesuffix("weight") + "bias" if op in _NORMS else None


class Codes:
    r"""The kinds of nodes met so far, numbered in the order of their appearance."""

    def __init__(self) -> None:
        self._codes: dict[Kind, int] = {}

    def __getitem__(self, kind: Kind) -> int:
        code = self._codes.setdefault(kind, len(self._codes))
        if code > _MAX_NODES:
            raise DatasetError("The networks of one file have too many kinds of nodes.")
        return code

    @property
    def kinds(self) -> list[Kind]:
        r"""The kinds in the order of their codes."""
        return list(self._codes)


def encode(record: NetworkRecord, codes: Codes) -> Networks:
    r"""Turns a record into what is stored.

    Raises:
        DatasetError: If the graph is invalid or names a parameter that the network lacks.
        ArchitectureError: If the arguments describe no valid network.
    """
    ops, names = np.asarray(record.ops).tolist(), record.param_names
    _check_nodes(ops, names)
    formulas = shape_formulas(record.net_args)
    if unknown := set(names) - set(formulas) - {""}:
        raise DatasetError(f"the network has no parameter {sorted(unknown)[0]!r}.")
    covered = {*names, *(bias_name(op, name) for op, name in zip(ops, names, strict=True))}
    rest = [name for name in formulas if name not in covered]
    nodes, cells = [], []
    for op, name in [*zip(ops, names, strict=True), *((NO_NODE, name) for name in rest)]:
        cell, local = _locate(name)
        formula = formulas[name] if name else POOLING if op in _POOLS else None
        nodes.append(codes[Kind(op, local, formula)])
        cells.append(cell)
    if max(cells) > _MAX_CELLS:
        raise DatasetError(f"it has more than {_MAX_CELLS} cells.")
    out_degrees, steps = _edges(record)
    n = len(ops)
    return Networks(
        *np.array([[n], [len(steps)], [len(rest)]]),
        codes=np.array(nodes[:n]),
        rest_codes=np.array(nodes[n:], np.uint16),
        steps=steps,
        cells=np.array(cells[:n]),
        rest_cells=np.array(cells[n:]),
        out_degrees=out_degrees,
        net_args=[json.dumps(record.net_args, separators=(",", ":")).encode()],
    )


def decode(network: Networks, kinds: list[Kind]) -> NetworkRecord:
    r"""The inverse of :func:`encode` for a single network."""
    nodes = [kinds[code] for code in network.codes.tolist()]
    return NetworkRecord(
        net_args=json.loads(network.net_args[0]),
        ops=np.array([kind.op for kind in nodes], np.uint8),
        edges=network.edges.astype(np.uint16),
        param_names=[
            full_name(cell, kind.name)
            for cell, kind in zip(network.cells.tolist(), nodes, strict=True)
        ],
    )


def full_name(cell: int, name: str) -> str:
    r"""A parameter's name in its network."""
    return f"cells.{cell - 1}.{name}" if cell else name


def _locate(name: str) -> tuple[int, str]:
    # The inverse of `full_name`
    if not name.startswith("cells."):
        return 0, name
    _, cell, local = name.split(".", 2)
    return int(cell) + 1, local


def _check_nodes(ops, names) -> None:
    if not 0 < len(ops) == len(names) <= _MAX_NODES:
        raise DatasetError(f"{len(ops)} nodes and {len(names)} names make no graph.")
    if ops[0] != _INPUT or _INPUT in ops[1:]:
        raise DatasetError("node 0 and no other must be the input.")
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        twice = next(name for name in named if names.count(name) > 1)
        raise DatasetError(f"several nodes stand for {twice!r}.")


def _edges(record: NetworkRecord) -> tuple[np.ndarray, np.ndarray]:
    source, target = np.asarray(record.edges, np.int64)
    n = len(record.param_names)
    if source.size and not ((source < target).all() and target.max() < n and source.min() >= 0):
        raise DatasetError(
            f"its edges must lead ahead among {n} nodes: they are in topological order."
        )
    if source.size > _MAX_EDGES:
        raise DatasetError(f"it has more than {_MAX_EDGES} edges.")
    codes = np.sort(source * n + target)
    if (codes[1:] == codes[:-1]).any():
        raise DatasetError("an edge occurs twice.")
    source, target = codes // n, codes % n
    out_degrees = np.bincount(source, minlength=n)
    if out_degrees.max() > _MAX_DEGREE:
        raise DatasetError(f"a node has more than {_MAX_DEGREE} successors.")
    return out_degrees, target - source
