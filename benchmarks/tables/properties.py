r"""Properties of networks predicted from the node embeddings of GHNs, as in section 4.3 of
`"Parameter Prediction for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import fmean, median, pstdev

import numpy as np
import torch

from pyg_ghn.evaluation import EvaluationNetwork, graph_embeddings, predict_property
from pyg_ghn.graph import PRIMITIVES, from_module
from tables import ranking
from tables.finetuning import KINDS
from tables.options import Options
from tables.output import Table
from tables.rows import Job, Results, Row, Rows

NODES = "node types"
r"""The start that stands for no GHN: how many nodes of each type a graph has."""
BATCH, REPEATS, FOLDS = 64, 5, 5
METHODS = ("ridge", "svr")


def jobs(options: Options) -> Iterator[Job]:
    for network in ranking.networks(options):
        key = {"split": network.split, "network": network.name}
        yield {**key, "start": NODES}, partial(measure, options, network)
        for label in options.whole_ghns:
            yield {**key, "start": label}, partial(embed, options, network, label)


def measure(options: Options, network: EvaluationNetwork) -> Row:
    r"""What there is to predict, but accuracy."""
    model = options.start(network.build, "random", options.seeds[0]).eval()
    images, _ = options.data.train.sample(BATCH, torch.Generator().manual_seed(0))
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + REPEATS):
            begin = time.perf_counter()
            model(images).sum().item()  # waits for a GPU
            seconds.append(time.perf_counter() - begin)
    graph = from_module(model, options.data.input_size)
    counts = torch.bincount(graph.x.flatten(), minlength=len(PRIMITIVES))
    return {
        "params": sum(param.numel() for param in model.parameters()),
        "seconds": median(seconds[1:]),
        "embedding": counts.tolist(),
    }


def embed(options: Options, network: EvaluationNetwork, label: str) -> Row:
    graph = from_module(network.build(), options.data.input_size)
    return {"embedding": graph_embeddings(options.ghn(label), [graph])[0].round(6).tolist()}


KEY = ("split", "network", "start")
ROWS = (ranking.TRAINED, Rows("properties", KEY, Options.describe, jobs))


def report(trained: Results, found: Results) -> list[Table]:
    truth = ranking.trained_accuracies(trained)
    embeddings: dict[str, dict] = {}
    for row in found.rows:
        name = row["split"], row["network"]
        embeddings.setdefault(row["start"], {})[name] = row["embedding"]
    properties = {
        (row["split"], row["network"]): (
            truth.get((row["split"], row["network"])),
            np.log(row["params"]),
            np.log(row["seconds"]),
        )
        for row in found.rows
        if "params" in row
    }
    heads = ("accuracy", "parameters", "inference time")
    kinds = [kind for kind, has in KINDS.items() if any(has(split) for split, _ in properties)]
    columns = ["embedding", "regression", *(f"{kind} | {head}" for kind in kinds for head in heads)]
    rows = [["networks", None]]
    for start, vectors in embeddings.items():
        for method in METHODS:
            row = [start, method]
            for kind in kinds:
                for i in range(len(heads)):
                    pairs = [
                        (vectors[name], values[i])
                        for name, values in properties.items()
                        if KINDS[kind](name[0]) and name in vectors and values[i] is not None
                    ]
                    if len(rows[0]) < len(columns):
                        rows[0].append(len(pairs))
                    if len(pairs) < 2 * FOLDS:
                        row.append(None)
                        continue
                    taus = predict_property(
                        *map(np.array, zip(*pairs, strict=True)), method, FOLDS
                    ).taus
                    row.append(f"{fmean(taus):.2f}±{pstdev(taus):.2f}")
            rows.append(row)
    title = "Kendall's tau of properties of networks that are predicted from embeddings"
    notes = [
        f"Mean and standard deviation over {FOLDS} folds of networks left out. The embedding of a "
        f"graph is the mean of its nodes'; {NODES}: how many nodes of each type it has. Parameters "
        f"and inference time (a batch of {BATCH}) are predicted by their logarithms."
    ]
    return [Table(title, columns, rows, notes)]
