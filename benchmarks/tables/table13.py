r"""Table 13: rankings of networks without training beside that after SGD."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from statistics import fmean, pstdev

import numpy as np
import torch

from pyg_ghn.errors import GHNError
from pyg_ghn.evaluation import PROXIES, EvaluationNetwork, rank_correlation, score
from tables import ranking
from tables.finetuning import KINDS, in_kind
from tables.options import PYTORCH, Options
from tables.output import PUBLISHED, Table
from tables.rows import Job, Results, Row, Rows

BATCH, RANDOM_RANKINGS = 64, 200


def jobs(options: Options) -> Iterator[Job]:
    for network in ranking.networks(options):
        for seed in options.seeds:
            for name in PROXIES:
                key = {"split": network.split, "network": network.name, "seed": seed, "proxy": name}
                yield key, partial(measure, options, network, seed, name)


def measure(options: Options, network: EvaluationNetwork, seed: int, name: str) -> Row:
    model = options.start(network.build, "random", seed)
    batch = options.data.train.sample(BATCH, torch.Generator().manual_seed(seed))
    found = score(model, *batch, [name])[name]
    if isinstance(found, GHNError):
        raise found
    return {"score": found}


SCORES = Rows(
    "proxies",
    ("split", "network", "seed", "proxy"),
    lambda options: {**options.describe(), "batch": BATCH},
    jobs,
)
ROWS = (ranking.TRAINED, ranking.PREDICTED, SCORES)


def report(trained: Results, predicted: Results, scores: Results) -> list[Table]:
    methods: dict[str, dict] = defaultdict(lambda: defaultdict(list))
    for row in predicted.rows:
        name = row["split"], row["network"]
        methods[row["start"]][name].append(row["accuracy"])
        methods[f"{row['start']}, calibrated"][name].append(row["calibrated"])
    for row in sorted(scores.rows, key=lambda row: [*PROXIES].index(row["proxy"])):
        methods[row["proxy"]][row["split"], row["network"]].append(row["score"])
    truth, steps = ranking.trained_accuracies(trained), trained.settings["steps"]
    truths = {
        f"{kind} | {steps} steps of SGD": {n: truth[n] for n in in_kind(truth, kind)}
        for kind in KINDS
    }
    if trained.settings["images"] == "imagenet":
        sota = {(PYTORCH, name): values[-1] for name, values in PUBLISHED["networks"].items()}
        truths["PyTorch | SOTA"] = {name: sota[name] for name in truth if name in sota}
        methods[f"{steps} steps of SGD"] = {name: [value] for name, value in truth.items()}
    truths = {head: values for head, values in truths.items() if len(values) > 1}
    generator = np.random.default_rng(0)
    random: list[str] = []
    for values in truths.values():
        draws = [
            dict(zip(values, generator.random(len(values)), strict=True))
            for _ in range(RANDOM_RANKINGS)
        ]
        taus = [rank_correlation(draw, values).tau for draw in draws]
        random.append(f"{fmean(taus):.2f}±{pstdev(taus):.2f}")
    rows = [["networks", *map(len, truths.values())], ["random ranking", *random]]
    for method, values in methods.items():
        means = {name: fmean(found) for name, found in values.items()}
        rows.append([method, *(_cell(means, other) for other in truths.values())])
    title = "Kendall's tau of rankings of networks with accuracy after training"
    notes = [
        f"* p < 0.05. Random: mean and standard deviation of {RANDOM_RANKINGS} rankings. In "
        "brackets: the number of networks, where a method fails for some."
    ]
    return [Table(title, ["method", *truths], rows, notes)]


def _cell(scores: dict, truth: dict) -> str | None:
    found = rank_correlation({name: scores.get(name) for name in truth}, truth)
    if not found.count or np.isnan(found.tau):
        return None
    less = f" ({found.count})" if found.missing else ""
    return f"{found.tau:.2f}{'*' if found.p < 0.05 else ''}{less}"
