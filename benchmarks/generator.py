r"""How fast networks of DeepNets-1M are generated, on one core: drawing and checking a network,
counting its nodes and writing it apart; for comparison the graph from its arguments, and by
building and tracing the module.

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

from pyg_ghn.architectures import (
    evaluation_architectures,
    network_from_args,
    network_graph,
    split_net_args,
)
from pyg_ghn.datasets.generate import with_num_nodes
from pyg_ghn.datasets.table import write_table
from pyg_ghn.graph import from_module

TARGET = 50  # networks a second and core


def main(
    num: int = 2000,
    traced: int = 200,
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
    }
    planned, by_tracing = graphs(split, traced)
    result |= {"milliseconds_of_graph": planned, "milliseconds_by_tracing": by_tracing}
    lines = ["| step | ms a network |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in steps.items()]
    lines += [
        f"| all: {1e3 / total:.0f} networks/s on one core (target {TARGET}) | {total:.2f} |",
        f"| graph from the arguments | {planned:.2f} |",
        f"| graph by building and tracing | {by_tracing:.2f} |",
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
        network_graph(net_args)  # fills the caches of layers, as the first of many networks do
    steps = {}
    nets, steps["draw and check"] = timed(num, lambda: list(split_net_args(split, num)))
    rows, steps["count nodes"] = timed(num, lambda: list(map(with_num_nodes, nets)))
    with tempfile.TemporaryDirectory() as folder:
        path, info = Path(folder) / "networks.jsonl", {"num_networks": num}
        _, steps["write"] = timed(num, lambda: write_table(path, info, rows))
        return steps, path.stat().st_size / num


def graphs(split: str, num: int) -> tuple[float, float]:
    r"""The time of a graph from the arguments, and by building and tracing the network."""
    nets = list(split_net_args(split, num))
    planned = timed(num, lambda: list(map(network_graph, nets)))[1]
    traced = [lambda net=net: from_module(network_from_args(net, device="meta")) for net in nets]
    return planned, timed(num, lambda: [trace() for trace in traced])[1]


def timed(num: int, function: Callable[[], Any]) -> tuple[Any, float]:
    r"""What a function returns, and its processor time in ms for each of :obj:`num` networks."""
    start = time.process_time()
    result = function()
    return result, 1e3 * (time.process_time() - start) / num


if __name__ == "__main__":
    auto_cli(main)
