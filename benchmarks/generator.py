r"""How fast networks of DeepNets-1M are generated, on one core: drawing and checking a network, its
graph and writing it apart; for comparison its graph by building and tracing the module.

    python benchmarks/generator.py --num 2000
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from pyg_ghn._files import atomic_path
from pyg_ghn._version import versions
from pyg_ghn.architectures import evaluation_architectures, network_from_args, split_net_args
from pyg_ghn.datasets import Store, StoreWriter
from pyg_ghn.datasets.generate import record
from pyg_ghn.graph import from_module

TARGET = 50  # networks a second and core


def main(
    num: int = 2000, traced: int = 50, split: str = "train", out: Path = Path("benchmarks/results")
) -> dict[str, Any]:
    """Prints a table and writes it to generator.json and generator.md.

    Args:
        num: Networks.
        traced: How many of them are traced as well.
        split: Split of DeepNets-1M.
        out: Folder of the results.
    """
    evaluation_architectures()  # drawn once in each process
    milliseconds: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any], count: int = num) -> Any:
        start = time.process_time()
        result = function()
        milliseconds[name] = 1e3 * (time.process_time() - start) / count
        return result

    # `record` fills caches of layers: first a few networks that do not count
    for net_args in split_net_args(split, num, seed=2):
        record(net_args)
    nets = timed("draw and check", lambda: list(split_net_args(split, num)))
    networks = timed("graph", lambda: [record(net_args) for net_args in nets])
    with tempfile.TemporaryDirectory() as folder:
        path, joined = Path(folder) / "shard", Path(folder) / "joined"

        def write() -> None:
            with StoreWriter(path, split) as writer:
                for network in networks:
                    writer.append(network)

        def join() -> None:
            with StoreWriter(joined, split) as writer:
                writer.extend(Store(path))

        timed("write a shard", write)
        timed("join shards", join)
        size = joined.stat().st_size / num

    def trace() -> None:
        for net_args in nets[:traced]:
            from_module(network_from_args(net_args, device="meta"))

    steps = dict(milliseconds)
    timed("graph by building and tracing", trace, traced)
    total = sum(steps.values())
    result = {
        "versions": versions(),
        "options": {"num": num, "traced": traced, "split": split},
        "milliseconds": {name: round(value, 3) for name, value in milliseconds.items()},
        "networks_per_second": round(1e3 / total, 1),
        "bytes_per_network": round(size, 1),
    }
    lines = ["| step | ms a network |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in steps.items()]
    lines += [
        f"| all | {total:.2f}: {1e3 / total:.0f} networks/s on one core (target {TARGET}) |",
        f"| {'graph by building and tracing, for comparison'} | "
        f"{milliseconds['graph by building and tracing']:.2f} |",
        "",
        f"{size:.0f} bytes a network.",
    ]
    text = "\n".join(lines)
    print(text)
    for suffix, content in (("json", json.dumps(result, indent=1)), ("md", text)):
        with atomic_path(out / f"generator.{suffix}") as path:
            path.write_text(content + "\n")
    return result


if __name__ == "__main__":
    auto_cli(main)
