r"""How well parameters do as they are predicted, without any training: a row for each network and
GHN, as :class:`~pyg_ghn.evaluation.NetworkResult` has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch

from pyg_ghn.calibration import CALIBRATION_IMAGES
from pyg_ghn.evaluation import evaluate_network
from pyg_ghn.evaluation.splits import EvaluationNetwork
from tables.options import Options
from tables.rows import Job, Row, Rows


def jobs(options: Options) -> Iterator[Job]:
    for network in options.networks:
        for label in options.whole_ghns:
            key = {"split": network.split, "network": network.name, "start": label}
            yield key, partial(evaluate, options, network, label)


def evaluate(options: Options, network: EvaluationNetwork, label: str) -> Row:
    data, seed = options.data, options.seeds[0]
    unlabelled, _ = data.train.sample(CALIBRATION_IMAGES, torch.Generator().manual_seed(seed))
    found = asdict(evaluate_network(options.ghn(label), network, unlabelled, data.test, seed))
    return {name: value for name, value in found.items() if name not in ("split", "name")}


ZERO_STEP = Rows(
    "zero_step",
    ("split", "network", "start"),
    lambda options: {**options.describe(), "seed": options.seeds[0]},
    jobs,
)
