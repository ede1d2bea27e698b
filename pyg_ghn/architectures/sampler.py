r"""The generator of DeepNets-1M, from `"Parameter Prediction for Unseen Deep Architectures"
<https://arxiv.org/abs/2110.13100>`_ (section 3 and appendix A)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyg_ghn.architectures.genotype import Genotype, operation_names
from pyg_ghn.architectures.operations import OPERATIONS
from pyg_ghn.architectures.plan import SMALL_IMAGE, count_parameters, reductions
from pyg_ghn.architectures.reachability import live_parts
from pyg_ghn.errors import ArchitectureError


@dataclass(frozen=True)
class Split:
    r"""How the networks of one split are drawn."""

    num_networks: int
    stream: int
    r"""Splits with the same seed draw from independent streams; equal streams, equal networks."""
    seed: int = 1
    layers: tuple[int, int] = (4, 18)
    r"""Least and largest number of cells."""
    deep_thresholds: tuple[int, ...] = (7, 8, 9, 10)
    r"""Networks of more cells than the one drawn have fewer steps and always average pixels."""
    steps: tuple[int, int, int] = (1, 2, 4)
    r"""Least, and largest number of steps in deep and in other networks."""
    max_params: int = 10**7
    no_norm: tuple[float, float] = (0.5, 0.0)
    r"""Probability of no norm in shallow networks of few steps, and in the others."""
    preproc: tuple[float, float] = (1.0, 0.2)
    r"""Probability of preprocessing in CNNs and in ViTs that can do without."""
    fixed_width: bool = True
    r"""Whether each network has one width, for evaluation, instead of a new one at each access."""
    width_multiplier: tuple[int, int] = (1, 1)
    r"""Factor of :obj:`C` at evaluation, for small and for large images."""

    def widened(self, C: int, input_size: tuple[int, int, int] = (3, 32, 32)) -> int:
        r"""The number of first channels with which a network of :obj:`C` is evaluated."""
        return C * self.width_multiplier[max(input_size[1:]) > SMALL_IMAGE]


_TEST = Split(500, stream=2)

SPLITS: dict[str, Split] = {
    "train": Split(1_000_000, stream=0, fixed_width=False),
    "val": Split(500, stream=1, seed=0),
    "test": _TEST,
    "wide": replace(_TEST, num_networks=100, width_multiplier=(4, 2)),
    "deep": Split(100, stream=3, layers=(10, 36), deep_thresholds=(18,), max_params=10**8),
    "dense": Split(100, stream=4, steps=(2, 6, 10), max_params=10**8),
    "bnfree": Split(100, stream=5, no_norm=(1.0, 1.0)),
    "search": Split(
        100_000,
        stream=6,
        layers=(6, 20),
        deep_thresholds=(10,),
        steps=(1, 3, 6),
        preproc=(0.8, 0.2),
        fixed_width=False,
    ),
}
r"""The splits of DeepNets-1M."""

_LARGE_CONVS = {"conv_5x5", "conv_7x7"}
_IMAGE_SIZES = {"cifar10": (3, 32, 32), "imagenet": (3, 224, 224)}


def get_split(name: str) -> Split:
    r"""The split of that name.

    Raises:
        ArchitectureError: If there is none.
    """
    if name not in SPLITS:
        raise ArchitectureError(f"Unknown split {name!r}; choose from {', '.join(SPLITS)}.")
    return SPLITS[name]


def sample_net_args(split: str, rng: np.random.Generator) -> dict[str, Any]:
    r"""Draws one network of a split.

    Args:
        split (str): A key of :data:`SPLITS`.
        rng (numpy.random.Generator): The only source of randomness.

    Returns:
        dict: Arguments for :func:`~pyg_ghn.architectures.network_from_args`, ready for JSON.
        :obj:`num_params` has the number of parameters with 32 channels for 32x32
        (:obj:`"cifar10"`) and 224x224 images (:obj:`"imagenet"`), 10 classes in both.

    Raises:
        ArchitectureError: If the split is unknown.
    """
    kind = get_split(split)
    net_args = None
    while net_args is None:  # a rejected draw starts over
        net_args = _draw(kind, rng)
    return net_args


def draw_width(
    net_args: Mapping[str, Any], rng: np.random.Generator, wide: bool = False
) -> dict[str, int]:
    r"""Draws the width that a network has at one access while a GHN is trained.

    Args:
        net_args (dict): A network of :func:`sample_net_args` or of the official files.
        rng (numpy.random.Generator): The only source of randomness.
        wide (bool, optional): Draw from wider networks, as for ImageNet. (default: :obj:`False`)

    Returns:
        dict: :obj:`C`, :obj:`fc_dim` and :obj:`imagenet_stride`.
    """
    num_params = net_args.get("num_params") or {"cifar10": count_parameters(net_args, C=32)}
    millions, n_cells = num_params["cifar10"] / 1e6, net_args["n_cells"]
    dense = not _LARGE_CONVS.isdisjoint(operation_names(net_args["genotype"]))
    pooled = net_args["stem_pool"] and net_args["stem_type"] == 0
    small = millions <= 0.2 and n_cells <= 8
    if dense or not net_args["glob_avg"]:
        choices = 1
    else:
        limits = _WIDE_LIMITS if wide else _LIMITS
        fitting = (n for p, cells, n in limits if millions > p or n_cells > cells)
        choices = next(fitting, len(_WIDTHS))
    C = _WIDTHS[rng.integers(choices)]
    free = choices == len(_WIDTHS) and C <= 64
    fc_dim = _FC_DIMS[rng.integers(len(_FC_DIMS) if free else 4)]
    strides = (2, 4) if wide and small and pooled and choices > 1 else (4,)
    return {"C": C, "fc_dim": fc_dim, "imagenet_stride": strides[rng.integers(len(strides))]}


_WIDTHS = range(32, 129, 16)
_FC_DIMS = range(64, 513, 64)
# More than so many million parameters or so many cells: one of the first so many widths.
_LIMITS = ((0.8, 12, 1), (0.4, 10, 2), (0.2, 8, 3))
_WIDE_LIMITS = ((2.0, 14, 1), (0.4, 10, 4), (0.2, 8, 5))


def _draw(split: Split, rng: np.random.Generator) -> dict[str, Any] | None:
    layers = _integer(rng, *split.layers)
    threshold = _choice(rng, split.deep_thresholds)
    low, medium, high = split.steps
    steps = _integer(rng, low, high if layers <= threshold else medium)
    genotype = _sample_genotype(steps, rng)
    if not _is_wanted(genotype) or not _is_connected(genotype, layers):
        return None
    net_args = _draw_arguments(split, genotype, layers, threshold, rng)
    num_params = {}
    for images, size in _IMAGE_SIZES.items():
        num_params[images] = count_parameters(net_args, input_size=size)
        if num_params[images] > split.max_params:
            return None
    return {**net_args, "genotype": genotype.to_dict(), "num_params": num_params}


def _draw_arguments(split, genotype, layers, threshold, rng):
    steps, vit = len(genotype.normal) // 2, genotype.is_vit
    C_mult = _integer(rng, 1, 2)
    shallow = layers <= split.layers[0] + 1 and steps <= split.steps[1]
    stem_type = _integer(rng, 0, 1)
    return {
        "genotype": genotype,
        "n_cells": layers,
        "ks": _choice(rng, (3, 5, 7)),
        "C_mult": C_mult,
        "preproc": steps > 1 or C_mult > 1 or _chance(rng, split.preproc[vit]),
        "glob_avg": vit or layers > threshold or _chance(rng, 0.9),
        "norm": None if _chance(rng, split.no_norm[not shallow]) else "bnorm",
        "stem_type": stem_type,
        "stem_pool": stem_type == 0 and _chance(rng, 0.5),
        "fc_layers": _integer(rng, 1, 2),
        "fc_dim": 256,
    }


def _sample_genotype(steps: int, rng: np.random.Generator) -> Genotype:
    every = tuple(OPERATIONS)[0 if steps > 1 else 1 :]  # without `none` in a single step
    plain = tuple(name for name in every if name in ("none", "skip_connect") or "pool" in name)
    normal = _sample_cell(steps, every, rng)
    reduce = _sample_cell(steps, plain if _chance(rng, 0.5) else every, rng)
    concat = range(2, 2 + steps)
    if steps > 1 and _chance(rng, 0.5):
        concat = [state for state in concat if state == 1 + steps or _chance(rng, 0.5)]
    return Genotype(normal, concat, reduce, concat)


def _sample_cell(steps: int, names: tuple[str, ...], rng: np.random.Generator):
    # The 2 best earlier states, the best operation on each, by scores that are independent and
    # equally distributed over states and operations: an ordered pair of different states and two
    # operations, all of them uniform. The order of the states is that of their scores.
    ops = []
    for state in range(2, 2 + steps):
        best, second = rng.integers(state), rng.integers(state - 1)
        for source in (best, second + (second >= best)):
            ops.append((_choice(rng, names), int(source)))
    return ops


def _is_wanted(genotype: Genotype) -> bool:
    # Networks that are hard to train or need much memory, or learn nothing before the classifier,
    # are rejected.
    names = genotype.operations
    conv = any("conv" in name for name in names)
    for ops in (genotype.normal, genotype.reduce):
        if sum(name == "cse" for name, _ in ops) > 1:
            return False
        if sum(name in _LARGE_CONVS for name, _ in ops) > 1:
            return False
    return conv or (genotype.is_vit and "cse" not in names)


def _is_connected(genotype: Genotype, n_cells: int) -> bool:
    # No cell may be cut off. Smaller parts may: networks made by the authors' code have unused
    # preprocessing layers (`none` is all that reads an input) and unused steps (left out of the
    # concatenation). Without this rule there would be more small networks than were published:
    # none of the 2000 of train, val and test with published statistics has less than 33 nodes.
    return all(live.cell for live in live_parts(genotype, reductions(n_cells)))


def _integer(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _choice(rng: np.random.Generator, values):
    return values[rng.integers(len(values))]


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)
