r"""How long torchvision's models take to become graphs: trace, reduce, encodings apart."""

from __future__ import annotations

from typing import Any

import torch
from _measure import seconds
from torch import nn
from torchvision import models

from pyg_ghn.graph import from_module
from pyg_ghn.graph.reduce import reduce
from pyg_ghn.graph.trace import trace
from pyg_ghn.nn import GHN3


def build(name: str) -> nn.Module:
    r"""A classification model without values: on the meta device where it can be built there."""
    try:
        with torch.device("meta"):
            return models.get_model(name, weights=None)
    except (NotImplementedError, RuntimeError):  # RegNet reads values while it is built
        return models.get_model(name, weights=None)


def image_size(name: str) -> tuple[int, int, int]:
    r"""The size of the model's images."""
    return (3, 299, 299) if name == "inception_v3" else (3, 224, 224)


def measure(names: list[str] | None = None, repeats: int = 5) -> list[dict[str, Any]]:
    r"""A row for each model, the times in ms."""
    ghn = GHN3.from_config("ghn3-t")
    return [_row(name, ghn, repeats) for name in names or models.list_models(module=models)]


def _row(name: str, ghn: GHN3, repeats: int) -> dict[str, Any]:
    model, size = build(name), image_size(name)
    image = torch.empty(2, *size, device="meta")
    data, recorded = from_module(model, size), trace(model, (image,))
    row = {
        "model": name,
        "nodes": data.num_nodes,
        "trace_ms": 1e3 * seconds(lambda: trace(model, (image,)), repeats),
        "reduce_ms": 1e3 * seconds(lambda: reduce(recorded), repeats),
        "encode_ms": 1e3 * seconds(lambda: ghn.transform(data), repeats),
        "graph_ms": 1e3 * seconds(lambda: from_module(model, size), repeats),
    }
    total = row["graph_ms"] + row["encode_ms"]
    return {**row, "total_ms": total, "ms_per_100_nodes": 100 * total / row["nodes"]}
