r"""What a network consists of, known before anything is built: channels, sizes, live parts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

from torch import nn

from pyg_ghn.architectures.genotype import Genotype, Live, Ops, live_parts
from pyg_ghn.architectures.operations import (
    Device,
    PositionEncoding,
    build_conv,
    build_layers,
    build_operation,
    build_passage,
    keeps_channels,
)
from pyg_ghn.architectures.splits import SMALL_IMAGE
from pyg_ghn.errors import ArchitectureError


class ModulePlan(NamedTuple):
    r"""A module to be built by :obj:`build(*args, device)`."""

    build: Callable[..., nn.Module]
    args: tuple

    def module(self, device: Device = None) -> nn.Module:
        return self.build(*self.args, device)


@lru_cache(maxsize=8192)
def parameter_shapes(plan: ModulePlan) -> dict[str, tuple[int, ...]]:
    r"""The shapes of a module's parameters by name, for reading only: equal plans share them."""
    return {name: tuple(param.shape) for name, param in plan.module("meta").named_parameters()}


@lru_cache(maxsize=8192)
def _num_parameters(plan: ModulePlan) -> int:
    return sum(prod(shape) for shape in parameter_shapes(plan).values())


class CellPlan(NamedTuple):
    r"""One cell: its operations and the parts of it that are live."""

    ops: Ops
    concat: tuple[int, ...]
    live: Live
    in_channels: tuple[int, int]  # of the outputs of the two previous cells
    inputs: tuple[ModulePlan, ...]  # the layers between these outputs and states 0 and 1
    operations: tuple[ModulePlan, ...]  # of build_operation, in the order of the genotype

    @property
    def misfits(self) -> Iterator[str]:
        """What is wrong with the channels of live operations on inputs without preprocessing."""
        for i, (_, state) in enumerate(self.ops):
            name, in_channels, out_channels, stride, _ = self.operations[i].args
            if not self.live.ops[i]:
                continue
            if state == 0 and in_channels != self.in_channels[0]:
                yield (
                    f"_ops.{i} ({name}) takes {in_channels} channels, as many as the previous "
                    f"cell gives, but state 0 has {self.in_channels[0]}"
                )
            elif in_channels != out_channels and keeps_channels(name, stride):
                yield f"_ops.{i} ({name}) cannot turn {in_channels} channels into {out_channels}"


@dataclass(frozen=True)
class NetworkPlan:
    r"""The arguments of a network, checked, and what follows from them.

    Args:
        genotype (Genotype or dict): The two kinds of cells.
        n_cells (int): Number of cells.
        C (int): Number of channels of the first cells.
        num_classes (int, optional): Number of classes. (default: :obj:`10`)
        input_size (tuple, optional): Channels, height and width of an image. Images of up to 64
            pixels get the stem of 32x32 images, others that of 224x224 images.
            (default: :obj:`(3, 32, 32)`)
        ks (int, optional): Kernel size of the first convolution. (default: :obj:`3`)
        stem_type (int, optional): :obj:`0` for one convolution, :obj:`1` for the ImageNet-style
            stem of three. (default: :obj:`0`)
        stem_pool (bool, optional): Whether a max pooling follows the simple stem.
            (default: :obj:`False`)
        imagenet_stride (int, optional): Stride of the simple stem for large images.
            (default: :obj:`4`)
        norm (str, optional): :obj:`None` or BatchNorm: :obj:`"bnorm"` without running statistics,
            :obj:`"bn-track"` with. (default: :obj:`"bnorm"`)
        preproc (bool, optional): Whether 1x1 convolutions adapt the inputs of each cell. Without
            them, operations on a cell's inputs take the channels of the previous cell's output.
            (default: :obj:`True`)
        C_mult (int, optional): Factor of the channels at each reduction. Without :obj:`preproc`,
            a cell of one step before the reduction multiplies them. (default: :obj:`1`)
        fc_layers (int, optional): Number of linear layers. (default: :obj:`1`)
        fc_dim (int, optional): Size of the hidden ones. (default: :obj:`64`)
        glob_avg (bool, optional): Whether pixels are averaged before the classifier, instead of
            flattened. (default: :obj:`True`)

    Raises:
        ArchitectureError: If an argument is invalid, :obj:`none` cuts every path through the
            network, an image cannot be halved evenly as often as the network halves it, or without
            :obj:`preproc` an operation's channels do not fit: it cannot change their number (all
            but convolutions and a striding :obj:`skip_connect`), or reads an input that has not
            as many as the previous cell gives.
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
        for problem in self._problems():
            raise ArchitectureError(problem)
        _ = self.sizes  # raises where an image cannot be halved

    def _problems(self) -> Iterator[str]:
        size, multiple = self.input_size, 8 if self.genotype.is_vit else 2
        if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
            yield f"input_size must be (channels, height, width) of an image, got {size}."
        for name in ("n_cells", "num_classes", "C_mult", "fc_layers", "fc_dim", "imagenet_stride"):
            if (value := getattr(self, name)) < 1:
                yield f"{name} must be 1 or more, got {value}."
        if self.C <= 0 or self.C % multiple:
            yield (
                f"C must be a positive multiple of {multiple} (8 heads of attention in a ViT, two "
                f"halves of a stride elsewhere), got {self.C}."
            )
        if self.ks <= 0 or self.ks % 2 == 0:
            yield f"ks must be a positive odd number, got {self.ks}."
        if self.stem_type not in (0, 1) or (self.stem_type == 1 and self.stem_pool):
            yield (
                "stem_type must be 0 (simple) or 1 (ImageNet-style, without stem_pool), got "
                f"stem_type={self.stem_type}, stem_pool={self.stem_pool}."
            )
        if self.norm is not None and not str(self.norm).startswith("bn"):
            yield (
                f"norm must be None, 'bnorm' or 'bn-track' (running statistics), got {self.norm!r}."
            )
        if not self.live_cells[-1].cell:
            yield (
                "No data gets from the image to the output: 'none' cuts every path through the "
                f"network of {self.n_cells} cells of {self.genotype}."
            )
        for i, cell in enumerate([] if self.preproc else self.cells):
            for misfit in cell.misfits:
                yield (
                    f"cells.{i}.{misfit}: without preproc, C_mult must be 1 and each concat a "
                    "single state, or the genotype's operations have to fit."
                )

    @property
    def is_large(self) -> bool:
        r"""Whether the stem is that of large images."""
        return max(self.input_size[1:]) > SMALL_IMAGE

    @cached_property
    def reductions(self) -> list[bool]:
        r"""The kind of each cell: whether it is a reduction cell."""
        return reductions(self.n_cells)

    @cached_property
    def live_cells(self) -> tuple[Live, ...]:
        return live_parts(self.genotype, self.reductions)

    @property
    def live_stem1(self) -> bool:
        r"""Whether the output depends on the second one of the first cell's inputs."""
        live = self.live_cells
        return live[0].inputs[1] or (self.n_cells > 1 and live[1].inputs[0])

    @property
    def stem(self) -> dict[str, ModulePlan]:
        r"""The stem's modules by name."""
        images, C, ks, norm, large = self.input_size[0], self.C, self.ks, self.norm, self.is_large
        if self.genotype.is_vit:
            conv = (images, C, 16, 16, 0) if large else (images, C, 3, 3, 1)
            encoding = ModulePlan(PositionEncoding, (C, *self.sizes[0]))
            return {"stem0": ModulePlan(build_conv, conv), "pos_enc": encoding}
        if self.stem_type == 1:
            stride, relu, norm_C = 2 if large else 1, ("relu",), ("norm", C, norm)
            first = ("conv", images, C // 2, ks, stride, ks // 2), ("norm", C // 2, norm)
            stem0 = (*first, relu, ("conv", C // 2, C, 3, stride, 1), norm_C)
            stem1 = (relu, ("conv", C, C, 3, 2, 1), norm_C)
            return {
                "stem0": ModulePlan(build_layers, (stem0,)),
                "stem1": ModulePlan(build_layers, (stem1,)),
            }
        stride, channels = self.imagenet_stride if large else 1, self.stem_channels
        stem = (("conv", images, channels, ks, stride, ks // 2), ("norm", channels, norm))
        return {"stem": ModulePlan(build_layers, (stem + (("max_pool",),) * self.stem_pool,))}

    @property
    def stem_channels(self) -> int:
        r"""The number of channels of the stem's output."""
        simple = self.stem_type == 0 and not self.genotype.is_vit
        return 3 * self.C if simple and self.preproc and not self.is_large else self.C

    @cached_property
    def cells(self) -> tuple[CellPlan, ...]:
        vit, norm, cells = self.genotype.is_vit, self.norm, []
        C, in_channels = self.C, (self.stem_channels, self.stem_channels)
        halves, following = (self.stem_type == 1 and not vit, False), [*self.reductions[1:], False]
        for reduces, next_reduces, live in zip(
            self.reductions, following, self.live_cells, strict=True
        ):
            C *= self.C_mult if reduces else 1
            ops, concat = self.genotype.cell(reduces)
            widens = next_reduces and len(ops) == 2 and not self.preproc
            channels = C * self.C_mult if widens else C
            if self.preproc:
                kinds = [("skip_connect", 2) if halve else ("conv_1x1", 1) for halve in halves]
                inputs = tuple(
                    ModulePlan(build_operation, (name, source, channels, stride, norm))
                    for (name, stride), source in zip(kinds, in_channels, strict=True)
                )
            else:
                inputs = tuple(ModulePlan(build_passage, (halve,)) for halve in halves)
            stride = 2 if reduces and not vit else 1
            on_input = (channels if self.preproc else in_channels[1], channels, stride, norm)
            on_step = (channels, channels, 1, norm)
            operations = tuple(
                ModulePlan(build_operation, (name, *(on_input if state < 2 else on_step)))
                for name, state in ops
            )
            cells.append(CellPlan(ops, concat, live, in_channels, inputs, operations))
            in_channels = (in_channels[1], len(concat) * channels)
            halves = (reduces and not vit, False)
        return tuple(cells)

    @property
    def classifier(self) -> ModulePlan:
        r"""The linear layers after the last cell, with ReLU and dropout between them."""
        concat = self.genotype.cell(self.reductions[-1])[1]
        features = self.C * self.C_mult ** sum(self.reductions) * len(concat)
        if not self.glob_avg:
            features *= prod(self.sizes[1])
        sizes = [features, *[self.fc_dim] * (self.fc_layers - 1), self.num_classes]
        layers = [("linear", features, sizes[1])]
        for i in range(1, self.fc_layers):
            layers += [("relu",), ("dropout",), ("linear", sizes[i], sizes[i + 1])]
        return ModulePlan(build_layers, (tuple(layers),))

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        r"""The image's size after the stem and after the last cell."""
        height, width = size = self.input_size[1:]
        stem, cells = [], []  # (layer, stride) of what halves the image
        if self.genotype.is_vit and not self.is_large:  # kernel 3, stride 3, padding 1
            grid = ((height - 1) // 3 + 1, (width - 1) // 3 + 1)
            return grid, grid
        if self.genotype.is_vit:
            stem = [("stem0", 16)]
        else:
            cells = [(f"cells.{i}", 2) for i, reduces in enumerate(self.reductions) if reduces]
            if self.stem_type == 1:
                stem = [("stem0.0", 2), ("stem0.3", 2)] * self.is_large + [("stem1", 2)]
            else:
                stem = [("stem.0", self.imagenet_stride)] * self.is_large
                stem += [("stem.2", 2)] * self.stem_pool
        layers = stem + cells
        for layer, stride in layers:
            if height % stride or width % stride:
                total = prod(stride for _, stride in layers)
                fit = "x".join(str(-(-n // total) * total) for n in size)
                raise ArchitectureError(
                    f"Images of {size[0]}x{size[1]} have {height}x{width} pixels at {layer}, "
                    f"which its stride {stride} does not divide: pad (or resize) them to {fit}."
                )
            height, width = height // stride, width // stride
        scale = 2 ** len(cells)
        return (height * scale, width * scale), (height, width)

    @property
    def modules(self) -> Iterator[tuple[str, ModulePlan, bool]]:
        r"""All modules: the name, the module, whether the output depends on it."""
        for name, module in self.stem.items():
            yield name, module, name != "stem1" or self.live_stem1
        for i, cell in enumerate(self.cells):
            for j, module in enumerate(cell.inputs):
                yield f"cells.{i}.preprocess{j}", module, cell.live.inputs[j]
            for j, module in enumerate(cell.operations):
                yield f"cells.{i}._ops.{j}", module, cell.live.ops[j]
        yield "classifier", self.classifier, True

    @property
    def unused_parameters(self) -> list[str]:
        r"""Names of the parameters that the output does not depend on."""
        dead = [(prefix, module) for prefix, module, live in self.modules if not live]
        return [f"{prefix}.{name}" for prefix, module in dead for name in parameter_shapes(module)]

    @property
    def num_parameters(self) -> int:
        r"""The number of parameters of the network, dead ones included."""
        return sum(_num_parameters(module) for _, module, _ in self.modules)


def reductions(n_cells: int) -> list[bool]:
    r"""The kind of each of :obj:`n_cells` cells: the ones at one and two thirds reduce."""
    thirds = {n_cells // 3, 2 * n_cells // 3} - {0}
    return [i in thirds for i in range(n_cells)]


def network_arguments(net_args: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    r"""The arguments of :class:`NetworkPlan` in those of a data set: :obj:`C` is 32 where it is
    missing; :obj:`num_nodes` and :obj:`num_params`, which describe the network, are left out.
    Changes are set in their place, but for those that are :obj:`None`."""
    if not isinstance(net_args, Mapping):
        raise ArchitectureError(
            "Network arguments are a dictionary, as `DeepNets1M.net_args(index)` and `json.loads` "
            f"of an item's `net_args` give, got {net_args!r:.80}."
        )
    bookkeeping = ("num_nodes", "num_params")
    args = {"C": 32} | {name: net_args[name] for name in net_args if name not in bookkeeping}
    args |= {name: value for name, value in changes.items() if value is not None}
    known = NetworkPlan.__dataclass_fields__
    unknown, missing = args.keys() - known, {"genotype", "n_cells"} - args.keys()
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
    r"""Counts the parameters of the network that
    :func:`~pyg_ghn.architectures.network_from_args` builds of these arguments, without building it.
    """
    changes = {"num_classes": num_classes, "input_size": input_size, "C": C, "fc_dim": fc_dim}
    return NetworkPlan(**network_arguments(net_args, **changes)).num_parameters
