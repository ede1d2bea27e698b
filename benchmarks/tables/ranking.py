r"""Networks that are ranked: their accuracies after SGD and as GHNs predict them, taken from other
tables' rows where they are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from pyg_ghn.evaluation import EvaluationNetwork
from tables import finetuning, zero_step
from tables.options import PYTORCH, Options
from tables.rows import Job, Results, Rows
from tables.zero_step import KEY

NETWORKS = {"test": (60, 10), PYTORCH: (30, 2)}
r"""Split to the number of networks, by default and if quick."""


def networks(options: Options) -> list[EvaluationNetwork]:
    r"""The networks that are ranked."""
    return [
        network
        for split, counts in NETWORKS.items()
        if split in options.splits
        for network in options.some(split, options.count(*counts))
    ]


def trained_jobs(options: Options, found: Results) -> Iterator[Job]:
    r"""SGD from random initialization."""
    pairs = ((network, seed) for network in networks(options) for seed in options.seeds)
    return known(found, (finetuning.job(options, *pair, "random") for pair in pairs))


def predicted_jobs(options: Options, found: Results) -> Iterator[Job]:
    return known(found, zero_step.jobs(options, networks(options)))


def known(found: Results, jobs: Iterable[Job]) -> Iterator[Job]:
    r"""Jobs that only copy the row where it was found."""
    rows = {zero_step.ZERO_STEP.identity(row): row for row in found.rows}
    for key, run in jobs:
        row = rows.get(zero_step.ZERO_STEP.identity(key))
        yield key, partial(dict, row) if row else run


def _ours(name: str, settings, jobs) -> Rows:
    others = Rows(name, KEY, settings, lambda options: ())  # only read
    return Rows(f"ranking_{name}", KEY, settings, jobs, (others,))


TRAINED = _ours("finetuning", finetuning.settings, trained_jobs)
PREDICTED = _ours("zero_step", Options.describe, predicted_jobs)


def trained_accuracies(trained: Results) -> dict[finetuning.Network, float]:
    r"""Accuracy in % after SGD by network, the mean over seeds."""
    steps = trained.settings["steps"]
    return {name: c[steps] for name, c in finetuning.curves(trained).get("random", {}).items()}
