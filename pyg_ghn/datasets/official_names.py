r"""The names in the official files of DeepNets-1M, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pyg_ghn.datasets.official_meta import OfficialMeta
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX, PRIMITIVES

_WITH_PARAMETER = {"sep_conv", "dil_conv", "conv", "bias", "bn", "ln", "pos_enc"}

# max_pool_3x3, sep_conv_5x5, conv_1x1 ...; without the kernel it is one of ours.
_KERNEL = re.compile(r"(?<=conv|pool)(_\d+x\d+)+$")
_ALIASES = {"fc-b": "bias"}

_OLD_SPELLINGS = (
    (re.compile(r"^((?:_ops\.|preprocess)\d+)\.(?=\d)"), r"\1.op."),
    (re.compile(r"^(_ops\.\d+)\.(?=to_qkv|to_out)"), r"\1.attn."),
)
_OUTSIDE_CELLS = ("stem", "pos_enc.", "classifier.")


class OfficialNames:
    r"""Turns the ids of a split's nodes into our primitives and parameter names.

    Args:
        meta (OfficialMeta): The split's tables.
    """

    def __init__(self, meta: OfficialMeta):
        self._known = _Known(meta)

    def resolve(self, nodes: np.ndarray) -> tuple[np.ndarray, list[str]]:
        r"""Returns the rows of :obj:`PRIMITIVES`, shape :math:`[N]`, and the parameters' names.

        Args:
            nodes (numpy.ndarray): Primitive id, cell and name id, shape :math:`[N, 3]`.

        Raises:
            DatasetError: If an id is in no table, or a name no primitive of ours.
        """
        ops, names = zip(*[self._known[node] for node in map(tuple, nodes.tolist())], strict=True)
        return np.array(ops, dtype=np.uint8), list(names)


class _Known(dict[tuple[int, int, int], tuple[int, str]]):
    # The same nodes come up in all networks.

    def __init__(self, meta: OfficialMeta):
        super().__init__()
        self._primitives, self._names = meta.primitives, meta.names

    def __missing__(self, node: tuple[int, int, int]) -> tuple[int, str]:
        primitive_id, cell, name_id = node
        spelled = _look_up(self._primitives, primitive_id, "primitives_ext")
        name = _look_up(self._names, name_id, "unique_op_names")
        op = primitive(spelled)
        if op not in PRIMITIVE_INDEX:
            raise DatasetError(
                f"the primitive {spelled!r} is unknown; known are {', '.join(PRIMITIVES)}."
            )
        self[node] = PRIMITIVE_INDEX[op], parameter_name(name, cell, op)
        return self[node]


def primitive(name: str) -> str:
    r"""Our name of a primitive: without the kernel's size."""
    return _ALIASES.get(name, _KERNEL.sub("", name))


def parameter_name(name: str, cell: int, op: str) -> str:
    r"""The full name of a node's parameter in :class:`~pyg_ghn.architectures.Network`.

    Args:
        name (str): The name in a file, of any age.
        cell (int): The node's cell.
        op (str): The node's primitive. Those without a parameter get the empty name.
    """
    if op not in _WITH_PARAMETER:
        return ""
    name = name.rstrip(".")
    for old, new in _OLD_SPELLINGS:
        name = old.sub(new, name)
    if not name.endswith((".weight", ".bias")):
        name += ".bias" if op == "bias" else ".weight"
    if name.startswith((f"cells.{cell}.", *_OUTSIDE_CELLS)):
        return name
    return f"cells.{cell}.{name}"


def _look_up(table: Mapping[int, str], id_: int, key: str) -> str:
    if id_ not in table:
        raise DatasetError(f"a node's id {id_} is not among the {len(table)} of {key!r}.")
    return table[id_]
