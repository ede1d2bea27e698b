r"""Networks generated, and graphs with encodings loaded, a second and core."""

from __future__ import annotations

import tempfile
from typing import Any

import dataset
import generator
import torch

from pyg_ghn.datasets import DeepNets1M, NetworkLoader
from pyg_ghn.nn import GHN3


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
    networks = DeepNets1M(
        root,
        "train",
        source="generated",
        num_networks=num_networks,
        transform=GHN3.from_config("ghn3-t").transform,
        log=False,
    )
    for size in (8, 32, 64):
        loader = NetworkLoader(networks, size, shuffle=True)
        name = f"loader, {size} networks a batch"
        rows.append({"what": name, "per_second": dataset.rate(loader, runs)})
    return rows
