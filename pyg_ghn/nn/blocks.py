r"""How to read a weight once, of which groups of rows need leading parts of different size."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# What one more small product costs beside its arithmetic, and what one more block costs in Python,
# as multiply-adds. Measured by benchmarks/speed.py on a CPU; on a GPU it hardly matters.
_PRODUCT, _BLOCK = 1 << 17, 1 << 22
# Columns in which products go fast: one of 61 columns takes twice as long as one of 64.
_ALIGNED = 16


class Block(NamedTuple):
    r"""A rectangle of the weight and the groups whose rows it is multiplied with."""

    out: slice
    in_: slice
    groups: list[int]

    @property
    def index(self) -> tuple[slice, slice]:
        return self.out, self.in_


def cover(
    sizes: Sequence[tuple[int, int]], num_rows: Sequence[int], num_features: int
) -> list[Block]:
    r"""Covers what each group of rows needs of a weight (out, in, features), its leading
    :obj:`sizes`, with blocks that do not overlap. Each entry of the weight, which for small groups
    takes longer to read than to multiply, is read once for all groups. A border at which less would
    be saved than one more product costs is left out; then some products are never used.

    Args:
        sizes (sequence): For each group its number of (out, in) channels.
        num_rows (sequence): For each group its number of rows.
        num_features (int): Length of the rows.

    Returns:
        The blocks by rows of rectangles, each from left to right.
    """
    groups, max_in = range(len(sizes)), max(in_ for _, in_ in sizes)
    work = [sizes[g][1] * num_rows[g] * num_features for g in groups]
    blocks = []
    for top, bottom in pairwise(_borders([sizes[g][0] for g in groups], work, _BLOCK)):
        band = [g for g in groups if sizes[g][0] > top]
        height = bottom - top
        work_in = [num_rows[g] * num_features * height for g in band]
        worth = _BLOCK + height * _PRODUCT
        ends = [min(-(-sizes[g][1] // _ALIGNED) * _ALIGNED, max_in) for g in band]
        for left, right in pairwise(_borders(ends, work_in, worth)):
            some = [g for g in band if sizes[g][1] > left]
            blocks.append(Block(slice(top, bottom), slice(left, right), some))
    return blocks


def _borders(ends: Sequence[int], work: Sequence[int], worth: int) -> list[int]:
    """From 0 to the largest end, with those ends between at which stopping saves enough work."""
    per_end: dict[int, int] = {}
    for end, amount in zip(ends, work, strict=True):
        per_end[end] = per_end.get(end, 0) + amount
    last, *others = sorted(per_end, reverse=True)
    borders = [last]
    for end in others:
        if (borders[-1] - end) * per_end[end] > worth:
            borders.append(end)
    return [0, *reversed(borders)]


def assemble(
    blocks: Sequence[Block],
    maps: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    num_rows: Sequence[int],
) -> list[Tensor]:
    r"""Puts together what each group has got from the blocks.

    Args:
        blocks (sequence): As :func:`cover` made them.
        maps (sequence): For each block the products (out, rows, in), rows in the order of its
            groups.
        sizes (sequence): See :func:`cover`.
        num_rows (sequence): See :func:`cover`.

    Returns:
        For each group a tensor (out, rows, in).
    """
    bands: list[dict[int, list[Tensor]]] = [{} for _ in sizes]
    for block, map in zip(blocks, maps, strict=True):
        for group, part in zip(
            block.groups, map.split([num_rows[g] for g in block.groups], dim=1), strict=True
        ):
            bands[group].setdefault(block.out.start, []).append(part)
    return [
        _joined([_joined(band, 2)[:, :, :in_] for band in group.values()], 0)[:out]
        for group, (out, in_) in zip(bands, sizes, strict=True)
    ]


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
