r"""How well parameters do as they are predicted, without any training: a row for each network and
GHN, as :class:`~pyg_ghn.evaluation.NetworkResult` has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch

from pyg_ghn.calibration import CALIBRATION_IMAGES
from pyg_ghn.evaluation import EvaluationNetwork, evaluate_network
from tables.options import Options
from tables.rows import Job, Row, Rows


def jobs(options: Options, networks: list[EvaluationNetwork] | None = None) -> Iterator[Job]:
    for network in options.networks if networks is None else networks:
        for label in options.whole_ghns:
            seed = options.seeds[0]  # of the little that is not predicted
            key = {"split": network.split, "network": network.name, "seed": seed, "start": label}
            yield key, partial(evaluate, options, network, seed, label)


def evaluate(options: Options, network: EvaluationNetwork, seed: int, label: str) -> Row:
    data = options.data
    unlabelled, _ = data.train.sample(CALIBRATION_IMAGES, torch.Generator().manual_seed(seed))
    found = asdict(evaluate_network(options.ghn(label), network, unlabelled, data.test, seed))
    return {name: value for name, value in found.items() if name not in ("split", "name")}


KEY = ("split", "network", "seed", "start")
ZERO_STEP = Rows("zero_step", KEY, Options.describe, jobs)
