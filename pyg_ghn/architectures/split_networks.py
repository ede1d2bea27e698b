r"""The networks of each split, the same ones each time."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from pyg_ghn.architectures.sampler import SPLITS, draw_width, get_split, sample_net_args


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
    kind = get_split(split)
    stop = kind.num_networks if num_networks is None else start + num_networks
    seeds = (kind.seed if seed is None else seed, kind.stream)
    if kind.fixed_width:
        return islice(_stream(split, np.random.default_rng(seeds)), start, stop)
    return (_unseen(split, np.random.default_rng((*seeds, i))) for i in range(start, stop))


def architecture_key(net_args: Mapping[str, Any]) -> str:
    r"""Identifies an architecture, whatever its width."""
    free = ("C", "fc_dim", "imagenet_stride", "num_nodes", "num_params")
    return json.dumps({k: v for k, v in net_args.items() if k not in free}, sort_keys=True)


@lru_cache(maxsize=1)
def evaluation_architectures() -> frozenset[str]:
    r"""All architectures of the evaluation splits: none of them is ever trained on."""
    splits = [split for split in SPLITS if SPLITS[split].fixed_width]
    return frozenset(architecture_key(args) for split in splits for args in split_net_args(split))


def _stream(split: str, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    while True:
        net_args = sample_net_args(split, rng)
        width = draw_width(net_args, rng)
        yield net_args | {"C": width["C"], "fc_dim": width["fc_dim"]}


def _unseen(split: str, rng: np.random.Generator) -> dict[str, Any]:
    net_args = sample_net_args(split, rng)
    while architecture_key(net_args) in evaluation_architectures():
        net_args = sample_net_args(split, rng)
    return net_args
