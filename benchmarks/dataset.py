r"""How fast a GHN gets its meta-batches of DeepNets-1M, with all encodings, on one core.

    python benchmarks/dataset.py --num 6000

Networks in random order, from the page cache. Rates are those of processor time, so that other
programs on the machine disturb them less; with a worker, that of both processes.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _measure as measuring
import numpy as np
import torch
from jsonargparse import auto_cli
from torch_geometric.loader import DataLoader

from pyg_ghn.datasets import DeepNets1M, NetworkLoader
from pyg_ghn.datasets.columns import Columns
from pyg_ghn.datasets.items import ItemMaker
from pyg_ghn.datasets.store import Store
from pyg_ghn.datasets.stored import StoredNetworks
from pyg_ghn.nn import GHN3
from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding

TARGET = 3000  # graphs a second and core


def main(
    root: Path = Path("data/deepnets1m"),
    source: str = "generated",
    num: int | None = 6000,
    batch_sizes: tuple[int, ...] = (8, 32, 64),
    runs: int = 3,
    out: Path = Path(__file__).parent / "results",
) -> dict[str, Any]:
    """Prints tables and writes them to dataset.json and dataset.md.

    Args:
        root: Folder of the data set. What is missing is generated, or downloaded.
        source: "official" or "generated".
        num: Networks of the train split, by default all.
        batch_sizes: Numbers of networks in a meta-batch.
        runs: The best of so many epochs.
        out: Folder of the results.
    """
    torch.set_num_threads(1)
    transform = GHN3.from_config("ghn3-t").transform
    options = {"transform": transform, "source": source, "num_networks": num}
    dataset = DeepNets1M(root, "train", **options)
    opened = best(runs, lambda: DeepNets1M(root, "train", **options))
    rates = {"opened in ms": 1e3 * opened} | one_by_one(dataset, runs)
    loaders = {}
    for size in batch_sizes:
        loaders |= {
            f"NetworkLoader, {size} a batch": rate(
                NetworkLoader(dataset, size, shuffle=True), runs
            ),
            f"DataLoader of PyG, {size} a batch": rate(DataLoader(dataset, size, True), runs),
            f"NetworkLoader with a worker, {size} a batch": rate(
                NetworkLoader(dataset, size, shuffle=True, num_workers=1), runs
            ),
        }
    limited = NetworkLoader(dataset, 64, max_nodes=6000, shuffle=True)
    loaders["NetworkLoader, up to 6000 nodes a batch"] = rate(limited, runs)
    result = {
        "environment": measuring.environment(),
        "options": {"source": source, "num": len(dataset), "runs": runs},
        "nodes": {"mean": dataset.node_counts.mean(), "max": int(dataset.node_counts.max())},
        "target": TARGET,
        "rates": rates,
        "loaders": loaders,
        "microseconds": {size: stages(dataset, size) for size in batch_sizes},
        "milliseconds_a_batch": {size: percentiles(dataset, size) for size in batch_sizes},
    }
    text = tables(result)
    print(text)
    measuring.save("dataset", result, text, out)
    return result


def one_by_one(dataset: DeepNets1M, runs: int) -> dict[str, float]:
    r"""Rates of what is read one by one."""
    store = Store(dataset.processed_paths[0])
    order = np.random.default_rng(0).permutation(min(1000, len(dataset))).tolist()
    return {
        "records/s": len(order) / best(runs, lambda: [store[i] for i in order]),
        "items/s, one by one": len(order) / best(runs, lambda: [dataset[i] for i in order]),
    }


def rate(loader: DataLoader, runs: int) -> float:
    r"""Graphs a second in an epoch. Workers are waited for, so that their time is known."""
    count = sum(batch.num_graphs for batch in loader)  # fills tables, starts nothing twice
    times = []
    for _ in range(runs):
        start = all_time()
        for _ in loader:
            pass
        times.append(all_time() - start)
    return count / min(times)


def all_time() -> float:
    r"""Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def percentiles(dataset: DeepNets1M, size: int) -> dict[str, float]:
    r"""How long it takes to make a meta-batch."""
    times = []
    for batch in NetworkLoader(dataset, size, shuffle=True).batch_sampler:
        start = time.process_time()
        dataset.batch(batch)
        times.append(1e3 * (time.process_time() - start))
    cuts = statistics.quantiles(times, n=100)
    return {"median": cuts[49], "95 %": cuts[94], "max": max(times)}


STAGES: dict[str, tuple[type, str]] = {
    "read and uncompress": (Store, "read"),
    "arguments and width": (StoredNetworks, "_with_width"),
    "names and shapes": (ItemMaker, "__call__"),
    "degrees and distances": (AddDegreeEncoding, "encode_many"),
    "shortest paths": (AddShortestPathEncoding, "encode_many"),
    "batch": (Columns, "batch"),
}
r"""Parts of making a meta-batch. The last one includes the two before it."""


def stages(dataset: DeepNets1M, size: int) -> dict[str, float]:
    r"""Processor time of each part, a graph."""
    spent, originals = dict.fromkeys(STAGES, 0.0), {}
    for stage, (owner, name) in STAGES.items():
        originals[stage] = getattr(owner, name)
        setattr(owner, name, timed(originals[stage], stage, spent))
    try:
        start = time.process_time()
        for batch in NetworkLoader(dataset, size, shuffle=True).batch_sampler:
            dataset.batch(batch)
        total = time.process_time() - start
    finally:
        for stage, (owner, name) in STAGES.items():
            setattr(owner, name, originals[stage])
    spent["batch"] -= spent["degrees and distances"] + spent["shortest paths"]
    spent["other"] = total - sum(spent.values())
    return {stage: 1e6 * seconds / len(dataset) for stage, seconds in spent.items()}


def timed(function: Callable, stage: str, spent: dict[str, float]) -> Callable:
    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        result = function(*args, **kwargs)
        spent[stage] += time.process_time() - start
        return result

    return run


def best(runs: int, function: Callable[[], Any]) -> float:
    r"""Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def tables(result: dict[str, Any]) -> str:
    nodes = result["nodes"]
    lines = [
        f"{result['options']['num']:,} networks with {nodes['mean']:.0f} nodes on average, "
        f"{nodes['max']} at most.",
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {name} | {value:,.4g} |" for name, value in result["rates"].items()]
    lines += ["", f"| graphs/s with encodings (target {result['target']}) | |", "|---|---|"]
    lines += [f"| {name} | {value:,.0f} |" for name, value in result["loaders"].items()]
    for title, key, digits in (
        ("microseconds a graph, networks a batch", "microseconds", 0),
        ("milliseconds a batch, networks a batch", "milliseconds_a_batch", 1),
    ):
        lines += ["", *columns(title, result[key], digits)]
    return "\n".join(lines)


def columns(title: str, by_size: dict[int, dict[str, float]], digits: int) -> Iterator[str]:
    yield f"| {title} | {' | '.join(map(str, by_size))} |"
    yield "|---" * (len(by_size) + 1) + "|"
    for name in next(iter(by_size.values())):
        values = (f"{values[name]:.{digits}f}" for values in by_size.values())
        yield f"| {name} | {' | '.join(values)} |"


if __name__ == "__main__":
    auto_cli(main)
