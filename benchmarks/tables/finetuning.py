r"""Networks trained by SGD from random and from predicted parameters, each with its best learning
rate and bound of the gradient's norm by accuracy on validation images: a row for each network, seed
and start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import ceil
from statistics import fmean

from pyg_ghn.evaluation.splits import EvaluationNetwork
from pyg_ghn.training import FinetuneConfig, search
from tables.options import PYTORCH, Options
from tables.rows import Job, Results, Row, Rows
from tables.zero_step import KEY, ZERO_STEP

PROTOCOLS = {
    "small": {
        "lrs": [0.1, 0.02, 0.004, 0.001, 1e-4],
        "clips": [1.0, None],
        "batch_size": 64,
        "schedule": "cosine",
    },
    "paper": {
        "lrs": [0.4, 0.1, 0.04, 0.01, 0.001],
        "clips": [None],
        "batch_size": 128,
        "schedule": "constant",
    },
}


def settings(options: Options) -> Row:
    r"""All that a row depends on.

    Raises:
        ConfigError: If an option does not make sense.
    """
    protocol = {**PROTOCOLS[options.protocol]}
    protocol["lrs"] = options.lrs or (protocol["lrs"][1:2] if options.quick else protocol["lrs"])
    epoch = ceil(len(options.data.train) / protocol["batch_size"])
    steps = options.steps or (8 if options.quick else epoch if options.protocol == "paper" else 50)
    evaluate_at = options.evaluate_at or [max(1, steps // 10)]
    found = {"protocol": options.protocol, **protocol, "momentum": 0.9, "weight_decay": 3e-5}
    for lr in found["lrs"]:
        _config({**found, "steps": steps, "evaluate_at": evaluate_at}, lr=lr)
    return {**options.describe(), **found, "steps": steps, "evaluate_at": evaluate_at}


def _config(settings: Row, **options: float) -> FinetuneConfig:
    names = ("steps", "evaluate_at", "batch_size", "schedule", "momentum", "weight_decay")
    return FinetuneConfig(**{name: settings[name] for name in names}, clip=None, **options)


def random_jobs(options: Options) -> Iterator[Job]:
    for network in options.networks:
        for seed in options.seeds:
            yield job(options, network, seed, "random")


def predicted_jobs(options: Options, zero: Results, tuned: Results) -> Iterator[Job]:
    r"""All networks from all GHNs, but the best ones only from those of :obj:`top_only`."""
    best = {
        (start, network)
        for start in options.top_only or ()
        for kind in KINDS
        for network in top(zero, tuned, start, kind)
    }
    for network in options.networks:
        for seed in options.seeds:
            for start in options.paths:
                name = (network.split, network.name)
                if start not in (options.top_only or ()) or (start, name) in best:
                    yield job(options, network, seed, start)


def job(options: Options, network: EvaluationNetwork, seed: int, start: str) -> Job:
    key = {"split": network.split, "network": network.name, "seed": seed, "start": start}
    return key, partial(train, options, network, seed, start)


def train(options: Options, network: EvaluationNetwork, seed: int, start: str) -> Row:
    r"""The better run of a start, and what all others reached."""
    given = settings(options)
    model = options.start(network.build, start, seed)
    config = replace(_config(given), seed=seed)
    best, _, results = search(model, options.data, config, given["lrs"], given["clips"])
    return {
        "lr": best.config.lr,
        "clip": best.config.clip,
        "curve": best.curve,
        "tried": [[r.config.lr, r.config.clip, r.val, r.test] for r in results],
        "seconds": sum(r.seconds for r in results),
    }


RANDOM = Rows("finetuning", KEY, settings, random_jobs)
PREDICTED = Rows("finetuning", KEY, settings, predicted_jobs, (ZERO_STEP, RANDOM))

# What tables make of the rows

KINDS = {"DeepNets-1M": lambda split: split != PYTORCH, "PyTorch": lambda split: split == PYTORCH}
r"""The paper's two kinds of networks, by split."""

TOP = 10
r"""So many of each are the best ones that the paper reports."""

Network = tuple[str, str]
Curves = dict[Network, dict[int, float]]


def curves(tuned: Results) -> dict[str, Curves]:
    r"""Accuracy on test images in % by start, network (its split and name) and step, the mean over
    seeds. A run that diverged stays where it was. Where a GHN's norms are a start of their own, the
    better of both by validation images is another one."""
    steps = evaluated(tuned)
    found: dict[str, dict[Network, list[dict[int, float]]]] = defaultdict(lambda: defaultdict(list))
    rows = {PREDICTED.identity(row): row for row in tuned.rows}
    for row in tuned.rows:
        ghn, colon, what = row["start"].rpartition(":")
        if what == "norms" and (other := rows.get(PREDICTED.identity({**row, "start": ghn}))):
            better = max(other, row, key=lambda row: row["curve"][-1]["val"])
            best = {**better, "start": f"{ghn}{colon}best"}
            rows[PREDICTED.identity(best)] = best
    for row in rows.values():
        curve = dict.fromkeys(steps, 100 * row["curve"][-1]["test"])
        curve |= {point["step"]: 100 * point["test"] for point in row["curve"]}
        found[row["start"]][row["split"], row["network"]].append(curve)
    return {
        start: {
            network: {step: fmean(curve[step] for curve in seeds) for step in steps}
            for network, seeds in networks.items()
        }
        for start, networks in sorted(found.items(), key=lambda item: item[0] != "random")
    }


def evaluated(tuned: Results) -> list[int]:
    r"""The steps after which all runs were evaluated."""
    return sorted({0, *tuned.settings["evaluate_at"], tuned.settings["steps"]})


def zero_accuracies(zero: Results, tuned: Results) -> dict[str, dict[Network, float]]:
    r"""Accuracy without training in % by GHN and network: of calibrated predictions, if fine-tuning
    starts from these."""
    which = "calibrated" if tuned.settings["protocol"] == "small" else "accuracy"
    found: dict[str, dict[Network, float]] = defaultdict(dict)
    for row in zero.rows:
        found[row["start"]][row["split"], row["network"]] = 100 * row[which]
    return found


def top(zero: Results, tuned: Results, start: str, kind: str) -> list[Network]:
    r"""The best networks of a kind as the paper chooses them: from a GHN by accuracy without
    fine-tuning, from random initialization by accuracy after all steps."""
    last = tuned.settings["steps"]
    accuracies = zero_accuracies(zero, tuned).get(start) or {
        network: curve[last if start == "random" else 0]
        for network, curve in curves(tuned).get(start, {}).items()
    }
    return sorted(in_kind(accuracies, kind), key=accuracies.__getitem__, reverse=True)[:TOP]


def in_kind(networks: Iterable[Network], kind: str) -> list[Network]:
    r"""The networks of one of :obj:`KINDS`."""
    return [network for network in networks if KINDS[kind](network[0])]
