r"""What a file stores of architectures, and the bytes of one of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Networks(NamedTuple):
    r"""One or more architectures, concatenated.

    A node has a code, which stands for a :class:`~pyg_ghn.datasets.coding.Kind`, and a cell. So has
    each parameter that no node stands for. Edges are sorted by source, then target.
    """

    num_nodes: np.ndarray
    num_edges: np.ndarray
    num_rest: np.ndarray
    r"""Parameters without a node."""
    codes: np.ndarray
    rest_codes: np.ndarray
    steps: np.ndarray
    r"""How many nodes each edge's target is ahead of its source."""
    cells: np.ndarray
    r"""Counted from 1; 0 is outside of cells."""
    rest_cells: np.ndarray
    out_degrees: np.ndarray
    net_args: list[bytes]
    r"""JSON."""

    @property
    def edges(self) -> np.ndarray:
        r"""Sources and targets, counted over all networks."""
        sources = np.repeat(np.arange(self.codes.size), self.out_degrees)
        return np.stack([sources, sources + self.steps])


_COUNTS = struct.Struct("<3H")
_WIDE, _NARROW = np.dtype("<u2"), np.dtype("u1")
_DTYPES = (_WIDE, _WIDE, _WIDE, _NARROW, _NARROW, _NARROW)


def pack(network: Networks) -> bytes:
    r"""The bytes of a single network."""
    counts = [int(count[0]) for count in network[:3]]
    arrays = [
        array.astype(dtype).tobytes() for array, dtype in zip(network[3:-1], _DTYPES, strict=True)
    ]
    return b"".join([_COUNTS.pack(*counts), *arrays, *network.net_args])


def unpack(blocks: Sequence[bytes]) -> Networks:
    r"""Several networks from the bytes of each."""
    counts, arrays, net_args = [], [], []
    for block in blocks:
        nodes, edges, rest = count = _COUNTS.unpack_from(block)
        position, parts = _COUNTS.size, []
        for size, dtype in zip((nodes, rest, edges, nodes, rest, nodes), _DTYPES, strict=True):
            parts.append(np.frombuffer(block, dtype, size, position))
            position += size * dtype.itemsize
        counts.append(count)
        arrays.append(parts)
        net_args.append(block[position:])
    columns = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
    return Networks(*np.array(counts).T, *columns, net_args)
