r"""How fast networks of DeepNets-1M are generated, on one core: drawing and checking a network, its
graph and writing it apart; for comparison the graph by building and tracing the module.

    python benchmarks/generator.py --num 2000
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _measure as measuring
from jsonargparse import auto_cli

from pyg_ghn.architectures import evaluation_architectures, network_from_args, split_net_args
from pyg_ghn.datasets import NetworkRecord, Store, StoreWriter
from pyg_ghn.datasets.generate import record
from pyg_ghn.graph import from_module

TARGET = 50  # networks a second and core


def main(
    num: int = 2000,
    traced: int = 50,
    split: str = "train",
    out: Path = Path(__file__).parent / "results",
) -> dict[str, Any]:
    """Prints a table and writes it to generator.json and generator.md.

    Args:
        num: Networks.
        traced: How many of them are traced as well.
        split: Split of DeepNets-1M.
        out: Folder of the results.
    """
    steps, bytes_per_network = measure(split, num)
    total = sum(steps.values())
    result = {
        "environment": measuring.environment(),
        "options": {"num": num, "traced": traced, "split": split},
        "milliseconds": steps,
        "networks_per_second": 1e3 / total,
        "target": TARGET,
        "bytes_per_network": bytes_per_network,
        "milliseconds_by_tracing": trace(split, traced),
    }
    lines = ["| step | ms a network |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in steps.items()]
    lines += [
        f"| all: {1e3 / total:.0f} networks/s on one core (target {TARGET}) | {total:.2f} |",
        f"| graph by building and tracing | {result['milliseconds_by_tracing']:.2f} |",
        "",
        f"{bytes_per_network:.0f} bytes a network.",
    ]
    text = "\n".join(lines)
    print(text)
    measuring.save("generator", result, text, out)
    return result


def measure(split: str, num: int) -> tuple[dict[str, float], float]:
    r"""The time of each step, and the size of a network."""
    evaluation_architectures()  # drawn once in a process
    for net_args in split_net_args(split, num, seed=2):
        record(net_args)  # fills the caches of layers, as the first of many networks do
    steps = {}
    nets, steps["draw and check"] = timed(num, lambda: list(split_net_args(split, num)))
    networks, steps["graph"] = timed(num, lambda: list(map(record, nets)))
    with tempfile.TemporaryDirectory() as folder:
        shard, joined = Path(folder) / "shard", Path(folder) / "joined"
        _, steps["write a shard"] = timed(num, lambda: write(shard, split, networks))
        _, steps["join shards"] = timed(num, lambda: join(joined, split, shard))
        return steps, joined.stat().st_size / num


def write(path: Path, split: str, networks: list[NetworkRecord]) -> None:
    with StoreWriter(path, split) as writer:
        for network in networks:
            writer.append(network)


def join(path: Path, split: str, shard: Path) -> None:
    with StoreWriter(path, split) as writer:
        writer.extend(Store(shard))


def trace(split: str, num: int) -> float:
    r"""The time of a graph the other way."""
    nets = list(split_net_args(split, num))
    return timed(num, lambda: [from_module(network_from_args(n, device="meta")) for n in nets])[1]


def timed(num: int, function: Callable[[], Any]) -> tuple[Any, float]:
    r"""What a function returns, and its processor time in ms for each of :obj:`num` networks."""
    start = time.process_time()
    result = function()
    return result, 1e3 * (time.process_time() - start) / num


if __name__ == "__main__":
    auto_cli(main)
