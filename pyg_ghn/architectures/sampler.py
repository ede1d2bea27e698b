r"""The generator of DeepNets-1M, from `"Parameter Prediction for Unseen Deep Architectures"
<https://arxiv.org/abs/2110.13100>`_ (section 3 and appendix A), and the networks of its splits."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from pyg_ghn.architectures.genotype import Genotype, live_parts
from pyg_ghn.architectures.operations import OPERATIONS
from pyg_ghn.architectures.plan import count_parameters, reductions
from pyg_ghn.architectures.splits import SPLITS, Split, get_split


def split_net_args(
    split: str, num_networks: int | None = None, seed: int | None = None, start: int = 0
) -> Iterator[dict[str, Any]]:
    r"""Draws the networks of a split, the same ones each time.

    Networks of evaluation splits also have a width (:obj:`C` and :obj:`fc_dim` of
    :func:`draw_width`), which :meth:`Split.widened` multiplies in the wide split. They are drawn
    one after the other from one stream of random numbers. Those of the other splits, train and
    search, each have their own, so that any of them can be drawn alone, and are never
    architectures of an evaluation split.

    Args:
        split (str): A key of :data:`SPLITS`.
        num_networks (int, optional): How many. (default: as many as the split has)
        seed (int, optional): Another seed than the split's own.
        start (int, optional): How many networks to pass over. (default: :obj:`0`)

    Raises:
        ArchitectureError: If the split is unknown.
    """
    rules = get_split(split)
    stop = rules.num_networks if num_networks is None else start + num_networks
    seeds = (rules.seed if seed is None else seed, rules.stream)
    if rules.fixed_width:
        return islice(_with_widths(split, np.random.default_rng(seeds)), start, stop)
    return (_unseen(split, np.random.default_rng((*seeds, i))) for i in range(start, stop))


def _with_widths(split: str, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    while True:
        net_args = sample_net_args(split, rng)
        width = draw_width(net_args, rng)
        yield net_args | {"C": width["C"], "fc_dim": width["fc_dim"]}


def _unseen(split: str, rng: np.random.Generator) -> dict[str, Any]:
    while True:
        net_args = sample_net_args(split, rng)
        if architecture_key(net_args) not in evaluation_architectures():
            return net_args


def architecture_key(net_args: Mapping[str, Any]) -> str:
    r"""Identifies an architecture, whatever its width."""
    free = ("C", "fc_dim", "imagenet_stride", "num_nodes", "num_params")
    return json.dumps({k: v for k, v in net_args.items() if k not in free}, sort_keys=True)


@lru_cache(maxsize=1)
def evaluation_architectures() -> frozenset[str]:
    r"""All architectures of the evaluation splits: none of them is ever trained on."""
    splits = [split for split in SPLITS if SPLITS[split].fixed_width]
    return frozenset(architecture_key(args) for split in splits for args in split_net_args(split))


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
    rules = get_split(split)
    while (net_args := _draw(rules, rng)) is None:
        pass  # a rejected draw starts over
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
    dense = not _LARGE_CONVS.isdisjoint(Genotype.from_dict(net_args["genotype"]).operations)
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


_LARGE_CONVS = {"conv_5x5", "conv_7x7"}
_WIDTHS = range(32, 129, 16)
_FC_DIMS = range(64, 513, 64)
# More than so many million parameters or so many cells: one of the first so many widths.
_LIMITS = ((0.8, 12, 1), (0.4, 10, 2), (0.2, 8, 3))
_WIDE_LIMITS = ((2.0, 14, 1), (0.4, 10, 4), (0.2, 8, 5))


def _draw(split: Split, rng: np.random.Generator) -> dict[str, Any] | None:
    layers = _choice(rng, range(split.layers[0], split.layers[1] + 1))
    threshold = _choice(rng, split.deep_thresholds)
    low, medium, high = split.steps
    steps = _choice(rng, range(low, 1 + (high if layers <= threshold else medium)))
    genotype = _sample_genotype(steps, rng)
    # No cell may be cut off. Smaller parts may: networks made by the authors' code have unused
    # preprocessing layers (`none` is all that reads an input) and unused steps (left out of the
    # concatenation). Without this rule there would be more small networks than were published:
    # none of the 2000 of train, val and test with published statistics has less than 33 nodes.
    connected = all(live.cell for live in live_parts(genotype, reductions(layers)))
    if not connected or not _is_wanted(genotype):
        return None

    vit, C_mult = genotype.is_vit, _choice(rng, (1, 2))
    shallow = layers <= split.layers[0] + 1 and steps <= medium
    stem_type = _choice(rng, (0, 1))
    net_args = {
        "genotype": genotype,
        "n_cells": layers,
        "ks": _choice(rng, (3, 5, 7)),
        "C_mult": C_mult,
        "preproc": steps > 1 or C_mult > 1 or rng.random() < split.preproc[vit],
        "glob_avg": vit or layers > threshold or rng.random() < 0.9,
        "norm": None if rng.random() < split.no_norm[not shallow] else "bnorm",
        "stem_type": stem_type,
        "stem_pool": stem_type == 0 and rng.random() < 0.5,
        "fc_layers": _choice(rng, (1, 2)),
        "fc_dim": 256,
    }
    num_params = {}
    for images, size in (("cifar10", (3, 32, 32)), ("imagenet", (3, 224, 224))):
        num_params[images] = count_parameters(net_args, input_size=size)
        if num_params[images] > split.max_params:
            return None
    return {**net_args, "genotype": genotype.to_dict(), "num_params": num_params}


def _sample_genotype(steps: int, rng: np.random.Generator) -> Genotype:
    every = tuple(OPERATIONS)[0 if steps > 1 else 1 :]  # without `none` in a single step
    plain = tuple(name for name in every if name in ("none", "skip_connect") or "pool" in name)
    normal = _sample_cell(steps, every, rng)
    reduce = _sample_cell(steps, plain if rng.random() < 0.5 else every, rng)
    concat = range(2, 2 + steps)
    if steps > 1 and rng.random() < 0.5:
        concat = [state for state in concat if state == 1 + steps or rng.random() < 0.5]
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
    # Not wanted are networks that are hard to train, need much memory or learn nothing before the
    # classifier.
    for ops in (genotype.normal, genotype.reduce):
        names = [name for name, _ in ops]
        if names.count("cse") > 1 or sum(name in _LARGE_CONVS for name in names) > 1:
            return False
    names = genotype.operations
    return any("conv" in name for name in names) or (genotype.is_vit and "cse" not in names)


def _choice(rng: np.random.Generator, values):
    return values[rng.integers(len(values))]
