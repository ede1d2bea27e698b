r"""Which parts of a network its output depends on.

The operation :obj:`none` and states that are left out of a cell's output cut parts off: operations,
preprocessing layers, even whole cells. They keep their parameters but must never be run.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pyg_ghn.architectures.genotype import Genotype


class Live(NamedTuple):
    r"""The parts of one cell that the network's output depends on."""

    ops: tuple[bool, ...]  # each operation
    inputs: tuple[bool, bool]  # the outputs of the two previous cells

    @property
    def cell(self) -> bool:
        r"""Whether the cell itself is needed."""
        return any(self.inputs)


def live_parts(genotype: Genotype, reductions: Sequence[bool]) -> tuple[Live, ...]:
    r"""Finds for every cell what the output of the last one depends on.

    Args:
        genotype (Genotype): The two kinds of cells.
        reductions (list of bool): The kind of each cell, :obj:`True` for a reduction cell.
    """
    filled = _flow(genotype, reductions)
    needed = [False] * len(filled)
    needed[-1] = filled[-1]
    parts = []
    for i in reversed(range(len(reductions))):  # cell i reads outputs i and i + 1, writes i + 2
        live = _live_cell(*genotype.cell(reductions[i]), filled[i : i + 2], needed[i + 2])
        needed[i] |= live.inputs[0]
        needed[i + 1] |= live.inputs[1]
        parts.append(live)
    return tuple(reversed(parts))


def _flow(genotype, reductions):
    # Forwards: whether data arrives at the outputs of the stem (twice) and of each cell.
    filled = [True, True]
    for reduction in reductions:
        ops, concat = genotype.cell(reduction)
        states = _filled_states(ops, filled[-2:])
        filled.append(any(states[state] for state in concat))
    return filled


def _filled_states(ops, inputs):
    states = list(inputs)
    for pair in zip(ops[::2], ops[1::2], strict=True):
        states.append(any(name != "none" and states[index] for name, index in pair))
    return states


def _live_cell(ops, concat, inputs, needed):
    # Backwards: a filled state is needed if the output or a needed operation reads it.
    filled = _filled_states(ops, inputs)
    wanted = {state for state in concat if needed and filled[state]}
    live = [False] * len(ops)
    for position in reversed(range(len(ops))):
        name, index = ops[position]
        if 2 + position // 2 in wanted and name != "none" and filled[index]:
            live[position] = True
            wanted.add(index)
    return Live(tuple(live), (0 in wanted, 1 in wanted))
