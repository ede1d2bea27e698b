r"""Do generated networks have the statistics that were published with DeepNets-1M?

Networks of train and all evaluation splits are generated; their numbers of nodes, degrees and
shortest paths (in the undirected graph of direct edges) stand beside the published ones, each with
the number of standard errors (of both samples, and of the published value's rounding) between them.

    python benchmarks/split_statistics.py --train 10000
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import _measure as measuring
import numpy as np
from jsonargparse import auto_cli
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Data
from tqdm import tqdm

from pyg_ghn.architectures import SPLITS, network_graph, split_net_args
from pyg_ghn.datasets.generate import GENERATOR

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published_split_statistics.json"
EVALUATION = ("test", "wide", "deep", "dense", "bnfree")
EVALUATION_DEGREES = (2.3, 0.1, 2.1, 2.8)
r"""Mean, standard deviation and range over the 900 networks of :obj:`EVALUATION`: table 3 of
`"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
<https://arxiv.org/abs/2303.04143>`_."""

ROUNDING = 0.1 / 12**0.5  # standard deviation of what rounding to one decimal takes away


def main(
    train: int = 10_000, seed: int | None = None, out: Path = FOLDER / "results"
) -> dict[str, Any]:
    """Prints the table of statistics and writes it with seeds and versions.

    Args:
        train: Networks of the train split.
        seed: Another seed than that of each split.
        out: Folder for split_statistics.json and split_statistics.md.
    """
    published = json.loads(PUBLISHED.read_text())["splits"]
    result: dict[str, Any] = {
        "generator": GENERATOR,
        "environment": measuring.environment(),
        "seeds": {s: SPLITS[s].seed if seed is None else seed for s in ("train", "val", "test")},
        "splits": {},
    }
    properties = {}
    for split in ("train", "val", *EVALUATION):
        size = train if split == "train" else SPLITS[split].num_networks
        nets = tqdm(split_net_args(split, size, seed), split, size)
        properties[split] = measure((network_graph(net), net["num_params"]) for net in nets)
        result["splits"][split] = compare(properties[split], published[split])
    degrees = np.concatenate([properties[split].degrees for split in EVALUATION])
    result["evaluation_degrees"] = [
        round(float(f(degrees)), 3) for f in (np.mean, np.std, np.min, np.max)
    ]
    text = table(result)
    print(text)
    measuring.save("split_statistics", result, text, out)
    return result


class Properties(NamedTuple):
    r"""What is measured, of each network."""

    nodes: np.ndarray
    degrees: np.ndarray
    paths: np.ndarray
    millions: np.ndarray
    r"""Parameters of the 32-channel network for 32x32 images."""


def measure(networks: Iterable[tuple[Data, dict[str, int]]]) -> Properties:
    r"""Measures graphs with their numbers of parameters."""
    rows = []
    for graph, num_params in networks:
        n, edges = graph.num_nodes, graph.edge_index.numpy()
        matrix = coo_array((np.ones(edges.shape[1]), edges), shape=(n, n))
        lengths = shortest_path(matrix.tocsr(), directed=False, unweighted=True)
        millions = num_params["cifar10"] / 1e6
        rows.append((n, 2 * edges.shape[1] / n, lengths.sum() / (n * (n - 1)), millions))
    return Properties(*np.array(rows).T)


def compare(ours: Properties, published: dict[str, Any]) -> dict[str, Any]:
    r"""Our statistics of a split, the published ones and the distance between them."""
    size = published["n_loaded"]
    pairs = {
        "nodes": (ours.nodes, published["nodes_mean"], published["nodes_std"]),
        "degree": (ours.degrees, *published["avg_degree"]),
        "path": (ours.paths, *published["avg_path"]),
    }
    rows: dict[str, Any] = {}
    for name, (values, mean, std) in pairs.items():
        rows[f"{name} mean"] = _row(values.mean(), _mean_error(values), mean, std / size**0.5)
        error = _std_error(values)
        scaled = error * (values.size / size) ** 0.5  # the same distribution, as many networks
        rows[f"{name} std"] = _row(values.std(ddof=1), error, std, scaled)
    return {
        "networks": [ours.nodes.size, size],
        "nodes min": [int(ours.nodes.min()), published["nodes_min"]],
        "nodes max": [int(ours.nodes.max()), published["nodes_max"]],
        **rows,
        "parameters mean (M)": [round(float(ours.millions.mean()), 3)],
    }


def _row(ours: float, our_error: float, published: float, error: float) -> dict[str, float]:
    z = (ours - published) / (our_error**2 + error**2 + ROUNDING**2) ** 0.5
    row = {"ours": ours, "error": our_error, "published": published, "z": z}
    return {name: round(float(value), 4) for name, value in row.items()}


def _mean_error(values: np.ndarray) -> float:
    return values.std(ddof=1) / values.size**0.5


def _std_error(values: np.ndarray) -> float:
    squares = (values - values.mean()) ** 2
    return squares.std() / (2 * values.std() * values.size**0.5)


def table(result: dict[str, Any]) -> str:
    lines = [
        "| split | statistic | generated | standard error | published | z |",
        "|---|---|---|---|---|---|",
    ]
    for split, rows in result["splits"].items():
        for name, row in rows.items():
            if isinstance(row, dict):
                ours, error, published, z = row.values()
                cells = f"{ours:.2f} | {error:.2f} | {published} | {z:+.1f}"
            else:
                cells = f"{row[0]} | | {row[1] if len(row) > 1 else ''} |"
            lines.append(f"| {split} | {name} | {cells} |")
    mean, std, least, most = result["evaluation_degrees"]
    published = "{}±{} ({}-{})".format(*EVALUATION_DEGREES)
    lines.append(
        f"| {', '.join(EVALUATION)} | degree | {mean}±{std} ({least}-{most}) | | {published} | |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    auto_cli(main)
