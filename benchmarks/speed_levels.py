r"""Node embeddings by GHN-2, level by level, beside those by GHN-3, against nodes and levels."""

from __future__ import annotations

from typing import Any

import torch
from _measure import seconds

from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN, GHN2, GHN3

CHANNELS = 64
SPLITS = {"test": 12, "deep": 12, "dense": 12}


@torch.no_grad()
def measure(quick: bool = False, repeats: int = 5) -> list[dict[str, Any]]:
    r"""A row for each network, by number of nodes; times in ms, encodings given."""
    ghns = {"GHN-3": GHN3(hidden_channels=CHANNELS).eval(), "GHN-2": GHN2(CHANNELS).eval()}
    rows = []
    for split, count in SPLITS.items():
        for net_args in split_net_args(split, count // 4 if quick else count):
            graph = from_module(network_from_args(net_args, device="meta"))
            levels = int(ghns["GHN-2"].transform(graph).level.max()) + 1
            row = {"split": split, "nodes": graph.num_nodes, "levels": levels}
            for name, ghn in ghns.items():
                row[f"{name}_ms"] = 1e3 * _embed_seconds(ghn, graph, repeats)
            rows.append(row)
    return sorted(rows, key=lambda row: row["nodes"])


def _embed_seconds(ghn: GHN, graph: Any, repeats: int) -> float:
    data = ghn.transform(graph)
    return seconds(lambda: ghn.embed(data, data.param_shape), repeats)
