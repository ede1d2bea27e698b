r"""Shapes of a network's parameters for any width, without building the network.

Every dimension is a multiple of one of a few units, such as half the number of first channels. The
multiples are found by laying out the network once with units that cannot be confused.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from pyg_ghn.architectures.genotype import Genotype
from pyg_ghn.architectures.plan import SMALL_IMAGE, ModulePlan, NetworkPlan, network_arguments

Shape = tuple[int, ...]


class Dim(NamedTuple):
    r"""A dimension: a multiple of a unit, for small and for large images."""

    unit: str
    small: int
    large: int


Formula = tuple[Dim, ...]

WIDTH = "C/2"
FIXED_UNITS = ("1", WIDTH)
r"""Units of nearly all parameters. Only those of the stem and the classifier have others: the
numbers of hidden units, classes and image channels, half the first channels times the pixels that
the classifier sees, and the size of a ViT's grid."""

POOLING: Formula = (Dim("1", 1, 1), Dim("1", 1, 1), Dim("1", 3, 3), Dim("1", 3, 3))
r"""Every pooling layer of a network has a kernel of 3 x 3 pixels."""


def shape_formulas(net_args: Mapping[str, Any]) -> dict[str, Formula]:
    r"""The shapes of all parameters of a network by name, in the order of
    :meth:`~torch.nn.Module.named_parameters`.

    Args:
        net_args (dict): See :func:`~pyg_ghn.architectures.network_from_args`.

    Raises:
        ArchitectureError: If the arguments describe no valid network.
    """
    args = network_arguments(net_args, **_PROBE)
    plans = [NetworkPlan(**args | {"input_size": size}) for size in _PROBE_SIZES]
    formulas = {
        f"{prefix}.{name}": formula
        for (prefix, small), (_, large) in zip(*(plan.modules for plan in plans), strict=True)
        for name, formula in _part_formulas(small, large)
    }
    if plans[0].genotype.is_vit:
        grid = (Dim("height", 1, 1), Dim("width", 1, 1))
        formulas["pos_enc.weight"] = formulas["pos_enc.weight"][:2] + grid
    if not plans[0].glob_avg:
        out, (_, small, large) = formulas["classifier.0.weight"]
        pixels = (prod(plan.sizes[1]) for plan in plans)
        seen = Dim("pixels", small // next(pixels), large // next(pixels))
        formulas["classifier.0.weight"] = (out, seen)
    return formulas


def unit_values(
    net_args: Mapping[str, Any], num_classes: int, input_size: tuple[int, int, int]
) -> dict[str, int]:
    r"""The size of every unit in one network."""
    grid, last = _sizes(
        Genotype.from_dict(net_args["genotype"]).is_vit,
        net_args["n_cells"],
        net_args.get("stem_type", 0),
        net_args.get("stem_pool", False),
        net_args.get("imagenet_stride", 4),
        tuple(input_size),
    )
    pixels = 1 if net_args.get("glob_avg", True) else last[0] * last[1]
    half = net_args["C"] // 2
    return {
        "1": 1,
        WIDTH: half,
        "fc_dim": net_args.get("fc_dim", 64),
        "classes": num_classes,
        "images": input_size[0],
        "pixels": half * pixels,
        "height": grid[0],
        "width": grid[1],
    }


def is_large(input_size: tuple[int, int, int]) -> bool:
    r"""Whether images of this size get the stem of large images."""
    return max(input_size[1:]) > SMALL_IMAGE


# The units of the probe: primes, times what the number of channels has to be a multiple of.
_C, _FC_DIM, _CLASSES, _IMAGES = 8 * 10_007, 1_000_003, 1_000_033, 1_000_037
_PROBE = {"C": _C, "fc_dim": _FC_DIM, "num_classes": _CLASSES, "imagenet_stride": 4}
_PROBE_SIZES = ((_IMAGES, 32, 32), (_IMAGES, 224, 224))
_UNITS = {_FC_DIM: "fc_dim", _CLASSES: "classes", _IMAGES: "images"}


@lru_cache(maxsize=8192)
def _part_formulas(small: ModulePlan, large: ModulePlan) -> tuple[tuple[str, Formula], ...]:
    return tuple(
        (name, tuple(map(_dim, shape, large.parameter_shapes[name])))
        for name, shape in small.parameter_shapes.items()
    )


def _dim(small: int, large: int) -> Dim:
    if small in _UNITS:
        return Dim(_UNITS[small], 1, 1)
    if small % (_C // 2):
        return Dim("1", small, large)
    return Dim(WIDTH, small // (_C // 2), large // (_C // 2))


_GENOTYPES = [
    Genotype([[op, 0], [op, 1]], [2], [[op, 0], [op, 1]], [2]) for op in ("skip_connect", "msa")
]


@lru_cache(maxsize=4096)
def _sizes(vit, n_cells, stem_type, stem_pool, imagenet_stride, input_size):
    # The image's size does not depend on the operations.
    plan = NetworkPlan(
        _GENOTYPES[vit],
        n_cells,
        C=8,
        input_size=input_size,
        stem_type=stem_type,
        stem_pool=stem_pool,
        imagenet_stride=imagenet_stride,
    )
    return plan.sizes
