r"""From stored networks to graphs as :func:`~pyg_ghn.graph.from_module` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyg_ghn.datasets.block import Networks
from pyg_ghn.datasets.coding import Kind, full_name
from pyg_ghn.datasets.columns import Columns
from pyg_ghn.datasets.shapes import FIXED_UNITS, WIDTH, Formula, Shape
from pyg_ghn.transforms.graphs import Graphs


class ItemMaker:
    r"""Makes the items of a data set, many at once. Names and shapes recur: they are looked up.

    Args:
        kinds (list of Kind): What the codes of nodes stand for.
        large (bool): Whether the networks are those for large images.
    """

    def __init__(self, kinds: list[Kind], large: bool):
        self._ops = np.array([kind.op for kind in kinds])
        self._names = _FullNames([kind.name for kind in kinds])
        self._bias_names = _FullNames([kind.bias_name for kind in kinds])
        self._shapes = _Shapes([kind.formula for kind in kinds], large)

    def __call__(
        self,
        networks: Networks,
        units: list[dict[str, int]],
        others: dict[str, Sequence[Any]],
    ) -> Columns:
        r"""Makes items.

        Args:
            networks (Networks): The networks.
            units (list of dict): :func:`~pyg_ghn.datasets.shapes.unit_values` of each.
            others (dict): Further attributes.
        """
        nodes, rest = networks.num_nodes.tolist(), networks.num_rest.tolist()
        names, codes, cells = self._names, networks.codes, networks.cells
        return Columns(
            Graphs(networks.num_nodes, networks.num_edges, networks.edges),
            self._ops[codes],
            {
                "param_name": names.of(codes, cells, nodes),
                "param_shape": self._shapes.of(codes, nodes, units),
                "bias_name": self._bias_names.of(codes, cells, nodes),
                "unsupported": names.of(networks.rest_codes, networks.rest_cells, rest),
                **others,
            },
        )


class _FullNames:
    r"""Full names by cell and code; the table grows with the cells met."""

    def __init__(self, names: list[str | None]):
        self.names = names
        self.table = np.empty(0, object)

    def of(self, codes: np.ndarray, cells: np.ndarray, sizes: list[int]) -> list[list[str | None]]:
        flat = cells * np.int64(len(self.names)) + codes
        if flat.size and flat.max() >= self.table.size:
            cells = range(flat.max() // len(self.names) + 1)
            full = [
                full_name(cell, name) if name else None for cell in cells for name in self.names
            ]
            self.table = np.array(full, object)
        return _split(self.table.take(flat).tolist(), sizes)


class _Shapes:
    r"""Shapes by code: those that depend on the width alone in tables, the few others one by
    one."""

    def __init__(self, formulas: list[Formula | None], large: bool):
        self.formulas = formulas
        self.large = large
        self.is_other = np.array(
            [any(dim.unit not in FIXED_UNITS for dim in formula or ()) for formula in formulas]
        )
        self.tables: dict[int, np.ndarray] = {}
        self.others: dict[tuple, Shape] = {}

    def of(self, codes: np.ndarray, sizes: list[int], units: list[dict[str, int]]):
        shapes, start = [], 0
        for size, values in zip(sizes, units, strict=True):
            some = codes[start : start + size]
            row = self._table(values[WIDTH]).take(some).tolist()
            for node in self.is_other.take(some).nonzero()[0].tolist():
                row[node] = self._other(int(some[node]), values)
            shapes.append(row)
            start += size
        return shapes

    def _table(self, half_width: int) -> np.ndarray:
        if half_width not in self.tables:
            table = np.empty(len(self.formulas), object)
            values = {"1": 1, WIDTH: half_width}
            for code in (~self.is_other).nonzero()[0].tolist():
                table[code] = self._shape(self.formulas[code], values)
            self.tables[half_width] = table
        return self.tables[half_width]

    def _other(self, code: int, values: dict[str, int]) -> Shape:
        key = (code, *values.values())
        if key not in self.others:
            self.others[key] = self._shape(self.formulas[code], values)
        return self.others[key]

    def _shape(self, formula: Formula | None, values: dict[str, int]) -> Shape | None:
        if formula is None:
            return None
        return tuple(
            values[unit] * (large if self.large else small) for unit, small, large in formula
        )


def _split(values: list, sizes: list[int]) -> list[list]:
    ends = np.cumsum(sizes).tolist()
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]
