r"""What a network consists of, known before anything is built: channels, sizes, live parts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

from pyg_ghn.architectures.genotype import Genotype
from pyg_ghn.architectures.parts import CellPlan, Part
from pyg_ghn.architectures.reachability import Live, live_parts
from pyg_ghn.architectures.stem import (
    PositionEncoding,
    build_classifier,
    build_conv,
    build_simple_stem,
    build_stem0,
    build_stem1,
)
from pyg_ghn.errors import ArchitectureError

SMALL_IMAGE = 64
r"""Images of up to this size get the stem of 32x32 images, larger ones that of 224x224 images."""


@dataclass(frozen=True)
class NetworkPlan:
    r"""A network's arguments, checked, and what follows from them.

    The arguments are those of :class:`~pyg_ghn.architectures.Network`.
    """

    genotype: Genotype
    n_cells: int
    C: int
    num_classes: int = 10
    input_size: tuple[int, int, int] = (3, 32, 32)
    ks: int = 3
    stem_type: int = 0
    stem_pool: bool = False
    imagenet_stride: int = 4
    norm: str | None = "bnorm"
    preproc: bool = True
    C_mult: int = 1
    fc_layers: int = 1
    fc_dim: int = 64
    glob_avg: bool = True

    def __post_init__(self):
        object.__setattr__(self, "genotype", Genotype.from_dict(self.genotype))
        object.__setattr__(self, "input_size", tuple(self.input_size))
        for valid, message in self._conditions():
            if not valid:
                raise ArchitectureError(message)
        _ = self.sizes  # raises where an image cannot be halved

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        size, multiple = self.input_size, 8 if self.genotype.is_vit else 2
        yield (
            len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size),
            f"input_size must be (channels, height, width) of an image, got {size}.",
        )
        for name in ("n_cells", "num_classes", "C_mult", "fc_layers", "fc_dim", "imagenet_stride"):
            value = getattr(self, name)
            yield value >= 1, f"{name} must be 1 or more, got {value}."
        yield (
            self.C > 0 and self.C % multiple == 0,
            f"C must be a positive multiple of {multiple} (8 heads of attention in a ViT, two "
            f"halves of a stride elsewhere), got {self.C}.",
        )
        yield self.ks > 0 and self.ks % 2 == 1, f"ks must be a positive odd number, got {self.ks}."
        yield (
            self.stem_type == 0 or (self.stem_type == 1 and not self.stem_pool),
            "stem_type must be 0 (simple) or 1 (ImageNet-style, without stem_pool), got "
            f"stem_type={self.stem_type}, stem_pool={self.stem_pool}.",
        )
        yield (
            self.norm is None or str(self.norm).startswith("bn"),
            f"norm must be None, 'bnorm' or 'bn-track' (running statistics), got {self.norm!r}.",
        )
        yield (
            self.live_cells[-1].cell,
            "No data gets from the image to the output: 'none' cuts every path through the "
            f"network of {self.n_cells} cells of {self.genotype}.",
        )
        for i, cell in enumerate(self.cells):
            for misfit in cell.misfits:
                yield (
                    False,
                    f"cells.{i}.{misfit}: without preproc, C_mult must be 1 and each concat a "
                    "single state, or the genotype's operations have to fit.",
                )

    @property
    def is_large(self) -> bool:
        r"""Whether the stem is that of large images."""
        return max(self.input_size[1:]) > SMALL_IMAGE

    @property
    def reductions(self) -> list[bool]:
        r"""The kind of each cell: whether it is a reduction cell."""
        return reductions(self.n_cells)

    @cached_property
    def live_cells(self) -> tuple[Live, ...]:
        r"""The live parts of each cell."""
        return live_parts(self.genotype, self.reductions)

    @property
    def live_stem1(self) -> bool:
        r"""Whether the output depends on the second one of the first cell's inputs."""
        live = self.live_cells
        return live[0].inputs[1] or (self.n_cells > 1 and live[1].inputs[0])

    @property
    def stem(self) -> dict[str, Part]:
        r"""The stem's modules by name."""
        images, C, large, norm = self.input_size[0], self.C, self.is_large, self.norm
        if self.genotype.is_vit:
            conv = (images, C, 16, 16, 0) if large else (images, C, 3, 3, 1)
            encoding = Part(PositionEncoding, (C, *self.sizes[0]))
            return {"stem0": Part(build_conv, conv), "pos_enc": encoding}
        if self.stem_type == 1:
            stem0 = Part(build_stem0, (images, C, self.ks, 2 if large else 1, norm))
            return {"stem0": stem0, "stem1": Part(build_stem1, (C, norm))}
        stride = self.imagenet_stride if large else 1
        args = (images, self.stem_channels, self.ks, stride, norm, self.stem_pool)
        return {"stem": Part(build_simple_stem, args)}

    @property
    def stem_channels(self) -> int:
        r"""The number of channels of the stem's output."""
        simple = self.stem_type == 0 and not self.genotype.is_vit
        return 3 * self.C if simple and self.preproc and not self.is_large else self.C

    @cached_property
    def cells(self) -> tuple[CellPlan, ...]:
        r"""The cells, first to last."""
        vit, cells = self.genotype.is_vit, []
        C, in_channels = self.C, (self.stem_channels, self.stem_channels)
        halve_first, following = self.stem_type == 1, [*self.reductions[1:], False]
        for reduction, next_reduces, live in zip(
            self.reductions, following, self.live_cells, strict=True
        ):
            C *= self.C_mult if reduction else 1
            ops, concat = self.genotype.cell(reduction)
            widens = next_reduces and len(ops) == 2 and not self.preproc
            channels = C * self.C_mult if widens else C
            cells.append(
                CellPlan(
                    ops,
                    concat,
                    live,
                    in_channels=in_channels,
                    channels=channels,
                    stride=2 if reduction and not vit else 1,
                    halve_first=halve_first and not vit,
                    preproc=self.preproc,
                    norm=self.norm,
                )
            )
            in_channels = (in_channels[1], len(concat) * channels)
            halve_first = reduction
        return tuple(cells)

    @property
    def classifier(self) -> Part:
        r"""The linear layers after the last cell."""
        n_reductions = sum(self.reductions)
        concat = self.genotype.cell(self.reductions[-1])[1]
        features = self.C * self.C_mult**n_reductions * len(concat)
        if not self.glob_avg:
            features *= prod(self.sizes[1])
        return Part(build_classifier, (features, self.fc_dim, self.fc_layers, self.num_classes))

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        r"""The image's size after the stem and after the last cell."""
        if self.genotype.is_vit and not self.is_large:  # kernel 3, stride 3, padding 1
            height, width = ((n - 1) // 3 + 1 for n in self.input_size[1:])
            return (height, width), (height, width)
        stem, cells = self._halvings
        height, width = self._halved(stem + cells)
        scale = prod(factor for _, factor in cells)
        return (height * scale, width * scale), (height, width)

    @property
    def _halvings(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        # (stage, stride) of the strides in the stem and in the cells
        if self.genotype.is_vit:
            return [("stem0", 16)] * self.is_large, []
        cells = [(f"cells.{i}", 2) for i, reduction in enumerate(self.reductions) if reduction]
        if self.stem_type == 1:
            stem = [("stem0.0", 2), ("stem0.3", 2)] if self.is_large else []
            return [*stem, ("stem1", 2)], cells
        stem = [("stem.0", self.imagenet_stride)] if self.is_large else []
        return stem + [("stem.2", 2)] * self.stem_pool, cells

    def _halved(self, stages: list[tuple[str, int]]) -> tuple[int, int]:
        height, width = start = self.input_size[1:]
        for stage, factor in stages:
            if height % factor or width % factor:
                total = prod(factor for _, factor in stages)
                fit = "x".join(str(-(-n // total) * total) for n in start)
                raise ArchitectureError(
                    f"Images of {start[0]}x{start[1]} have {height}x{width} pixels at {stage}, "
                    f"which its stride {factor} does not divide: pad (or resize) them to {fit}."
                )
            height, width = height // factor, width // factor
        return height, width

    @property
    def num_parameters(self) -> int:
        r"""The number of parameters of the network, dead ones included."""
        return sum(part.num_parameters for _, part in self.parts)

    @property
    def parameter_names(self) -> set[str]:
        r"""The names of the network's parameters, dead ones included."""
        return {f"{name}.{own}" for name, part in self.parts for own in part.parameter_shapes}

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        r"""All modules by name."""
        yield from self.stem.items()
        for i, cell in enumerate(self.cells):
            for j, part in enumerate(cell.inputs):
                yield f"cells.{i}.preprocess{j}", part
            for j, part in enumerate(cell.operations):
                yield f"cells.{i}._ops.{j}", part
        yield "classifier", self.classifier


def reductions(n_cells: int) -> list[bool]:
    r"""The kind of each of :obj:`n_cells` cells: the ones at one and two thirds reduce."""
    thirds = {n_cells // 3, 2 * n_cells // 3} - {0}
    return [i in thirds for i in range(n_cells)]


_BOOKKEEPING = {"num_nodes", "num_params"}


def network_arguments(net_args: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    r"""Reads the arguments of :class:`NetworkPlan` from those of a data set.

    Args:
        net_args (dict): The arguments. :obj:`C` is 32 where it is missing; :obj:`num_nodes` and
            :obj:`num_params`, which describe the network, are left out.
        **changes: Arguments to set or replace; :obj:`None` leaves them as they are.

    Raises:
        ArchitectureError: If an argument is unknown or a necessary one is missing.
    """
    args = {"C": 32} | {name: net_args[name] for name in net_args if name not in _BOOKKEEPING}
    args |= {name: value for name, value in changes.items() if value is not None}
    known = {field.name for field in fields(NetworkPlan)}
    unknown, missing = set(args) - known, {"genotype", "n_cells"} - set(args)
    if unknown or missing:
        raise ArchitectureError(
            f"Network arguments: {sorted(unknown)} unknown, {sorted(missing)} missing; known are "
            f"{sorted(known)}."
        )
    return args


def count_parameters(
    net_args: Mapping[str, Any],
    num_classes: int = 10,
    input_size: tuple[int, int, int] = (3, 32, 32),
    C: int | None = None,
    fc_dim: int | None = None,
) -> int:
    r"""Counts a network's parameters without building it.

    Args:
        net_args (dict): See :func:`~pyg_ghn.architectures.network_from_args`.
        num_classes (int, optional): Number of classes. (default: :obj:`10`)
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)
        C (int, optional): Replaces the number of first channels.
        fc_dim (int, optional): Replaces the size of hidden layers of the classifier.
    """
    changes = {"num_classes": num_classes, "input_size": input_size, "C": C, "fc_dim": fc_dim}
    return NetworkPlan(**network_arguments(net_args, **changes)).num_parameters
