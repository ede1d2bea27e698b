r"""The description of a cell, from `"DARTS: Differentiable Architecture Search"
<https://arxiv.org/abs/1806.09055>`_, and which parts of it a network's output depends on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import index
from typing import Any, NamedTuple

from pyg_ghn.architectures.operations import OPERATIONS
from pyg_ghn.errors import ArchitectureError

Ops = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genotype:
    r"""Two kinds of cells: the normal one and the reduction one, which halves the image.

    A cell's states 0 and 1 are the outputs of the two previous cells. Every step takes two of
    :obj:`(operation, index of an earlier state)` and adds one state, the sum of the two results.
    The channel concatenation of the states named in :obj:`*_concat` is the output.

    Args:
        normal (list of tuple): The operations of a normal cell, two for each step.
        normal_concat (list of int): States that make up the output of a normal cell.
        reduce (list of tuple): The operations of a reduction cell.
        reduce_concat (list of int): States that make up the output of a reduction cell.

    Raises:
        ArchitectureError: If an operation is unknown, an index points to a state that does not
            exist yet, or a cell has no step or no output.
    """

    normal: Ops
    normal_concat: tuple[int, ...]
    reduce: Ops
    reduce_concat: tuple[int, ...]

    def __post_init__(self):
        for cell in ("normal", "reduce"):
            self._check(cell, getattr(self, cell), getattr(self, f"{cell}_concat"))

    def _check(self, cell: str, ops: Iterable[Sequence], concat: Iterable[int]):
        try:
            ops = tuple((name, index(state)) for name, state in ops)
        except (TypeError, ValueError) as error:
            raise ArchitectureError(
                f"Operations of the {cell} cell must be (name, state) pairs, got {ops!r}."
            ) from error
        if not ops or len(ops) % 2:
            raise ArchitectureError(
                f"The {cell} cell must have two operations for each step, got {len(ops)}."
            )
        for position, (name, state) in enumerate(ops):
            if name not in OPERATIONS:
                raise ArchitectureError(
                    f"Operation {position} of the {cell} cell, {name!r}, is unknown; choose from "
                    f"{', '.join(OPERATIONS)}."
                )
            last = 1 + position // 2
            if not 0 <= state <= last:
                raise ArchitectureError(
                    f"Operation {position} of the {cell} cell ({name}) reads state {state}, but at "
                    f"that step only states 0 to {last} exist."
                )
        last = 1 + len(ops) // 2
        try:
            states = tuple(index(state) for state in concat)
        except TypeError:
            states = ()
        if not states or not all(2 <= state <= last for state in states):
            raise ArchitectureError(
                f"{cell}_concat must name one or more of the states 2 to {last}, got {concat!r}."
            )
        object.__setattr__(self, cell, ops)
        object.__setattr__(self, f"{cell}_concat", states)

    @classmethod
    def from_dict(cls, genotype: "Genotype | Mapping[str, Any]") -> "Genotype":
        r"""Reads a dictionary with the four fields; a :class:`Genotype` is returned as it is."""
        if isinstance(genotype, cls):
            return genotype
        names = [field.name for field in fields(cls)]
        if not isinstance(genotype, Mapping) or set(genotype) != set(names):
            raise ArchitectureError(
                f"A genotype is a dictionary with exactly the keys {names}, got {genotype!r}."
            )
        return cls(**genotype)

    def to_dict(self) -> dict[str, list]:
        r"""Returns the four fields as lists, ready for JSON."""
        return {
            "normal": [list(op) for op in self.normal],
            "normal_concat": list(self.normal_concat),
            "reduce": [list(op) for op in self.reduce],
            "reduce_concat": list(self.reduce_concat),
        }

    def cell(self, reduction: bool) -> tuple[Ops, tuple[int, ...]]:
        r"""Returns the operations and the concatenated states of one kind of cell."""
        if reduction:
            return self.reduce, self.reduce_concat
        return self.normal, self.normal_concat

    @property
    def operations(self) -> tuple[str, ...]:
        r"""The names of all operations of both cells."""
        return tuple(name for name, _ in self.normal + self.reduce)

    @property
    def is_vit(self) -> bool:
        r"""Whether networks of this genotype are vision transformers: any :obj:`msa` makes one."""
        return "msa" in self.operations


class Live(NamedTuple):
    r"""The parts of one cell that the network's output depends on.

    The operation :obj:`none` and states that are left out of a cell's output cut parts off:
    operations, preprocessing layers, even whole cells. They keep their parameters but never run.
    """

    ops: tuple[bool, ...]  # each operation
    inputs: tuple[bool, bool]  # the outputs of the two previous cells

    @property
    def cell(self) -> bool:
        r"""Whether the cell itself is needed."""
        return any(self.inputs)


def live_parts(genotype: Genotype, reductions: Sequence[bool]) -> tuple[Live, ...]:
    """Finds what the output of the last cell depends on in every cell, given which cells reduce."""
    cells = [genotype.cell(reduction) for reduction in reductions]
    filled = [True, True]  # whether data arrives at the outputs of the stem (twice) and the cells
    filled_states = []
    for ops, concat in cells:
        states = filled[-2:]
        for (name, source), (other_name, other_source) in zip(ops[::2], ops[1::2], strict=True):
            states.append(
                (name != "none" and states[source])
                or (other_name != "none" and states[other_source])
            )
        filled_states.append(states)
        filled.append(any(states[state] for state in concat))

    needed = [False] * len(filled)
    needed[-1] = filled[-1]
    parts = []
    for i in reversed(range(len(cells))):  # cell i reads outputs i and i + 1, writes i + 2
        (ops, concat), states = cells[i], filled_states[i]
        wanted = {state for state in concat if needed[i + 2] and states[state]}
        live = [False] * len(ops)
        for position in reversed(range(len(ops))):
            name, source = ops[position]
            if 2 + position // 2 in wanted and name != "none" and states[source]:
                live[position] = True
                wanted.add(source)
        parts.append(Live(tuple(live), (0 in wanted, 1 in wanted)))
        needed[i] |= 0 in wanted
        needed[i + 1] |= 1 in wanted
    return tuple(reversed(parts))
