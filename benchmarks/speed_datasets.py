r"""Networks generated, and graphs with encodings loaded, a second and core."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import generator
import torch
from torch_geometric.loader import DataLoader

from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.nn import GHN3
from pyg_ghn.transforms import RandomWidth


def measure(num_networks: int = 3000, runs: int = 3) -> list[dict[str, Any]]:
    r"""A row for each rate, of processor time, in networks a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as root:
            return _rows(root, num_networks, runs)
    finally:
        torch.set_num_threads(threads)


def _rows(root: str, num_networks: int, runs: int) -> list[dict[str, Any]]:
    steps, _ = generator.measure("train", num_networks)
    rows = [{"what": "generator", "per_second": 1e3 / sum(steps.values())}]
    options = {"source": "generated", "num_networks": num_networks, "log": False}
    encode = GHN3.from_config("ghn3-t").transform
    networks = DeepNets1M(root, "train", encode, **options)
    for size in (8, 64):
        loaded = rate(DataLoader(networks, size, shuffle=True), runs)
        rows.append({"what": f"loader, {size} networks a batch", "per_second": loaded})
    encode.transforms.insert(0, RandomWidth())
    networks = DeepNets1M(root, "train", encode, **options)
    drawn = rate(DataLoader(networks, 8, shuffle=True), runs)
    return [*rows, {"what": "with RandomWidth, 8 networks a batch", "per_second": drawn}]


def rate(loader: DataLoader, runs: int) -> float:
    r"""Graphs a second of processor time, in the best of several epochs."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        count = sum(batch.num_graphs for batch in loader)
        times.append((time.process_time() - start) / count)
    return 1 / min(times)


if __name__ == "__main__":
    for row in measure():
        print(f"{row['what']}: {row['per_second']:.0f} a second")
