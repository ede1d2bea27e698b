r"""How long the prediction of all parameters takes, beside the least that this machine needs."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from _measure import kept_memory, peak_memory, release_memory, seconds
from speed_graphs import build, image_size
from torch_geometric.data import Data

from pyg_ghn.graph import from_module
from pyg_ghn.graph.primitives import PRIMITIVES
from pyg_ghn.nn import GHN3
from pyg_ghn.nn.encodings import as_4d

MODELS = ("resnet50", "vit_b_16", "swin_t", "efficientnet_v2_l", "densenet201")
SIZES = ("ghn3-t", "ghn3-s", "ghn3-l", "ghn3-xl")


def measure(
    floors: dict[str, float], sizes=SIZES, models=MODELS, repeats: int = 5
) -> list[dict[str, Any]]:
    r"""A row for each GHN and model; :obj:`fresh_ms` in memory that is fresh from the system."""
    graphs = {name: from_module(build(name), image_size(name)) for name in models}
    rows = []
    for size in sizes:
        ghn = GHN3.from_config(size).eval()
        rows += [_row(size, ghn, name, graph, floors, repeats) for name, graph in graphs.items()]
    return rows


@torch.no_grad()
def _row(size: str, ghn: GHN3, name: str, graph: Data, floors: dict, repeats: int) -> dict:
    data = ghn.transform(graph)
    ghn(data)
    with peak_memory() as peak:
        params = ghn(data)[0]
        memory = peak()
    written = sum(param.nbytes for param in params.values())
    del params
    with kept_memory():
        taken = seconds(lambda: ghn(data), repeats, warmup=2)
    taken_fresh = seconds(lambda: ghn(data), repeats, before=release_memory)
    flop = 2 * multiply_adds(ghn, graph)
    floor = flop / floors["matmul_gflops"] / 1e9 + written / floors["write_gb_per_s"] / 1e9
    return {
        "ghn": size,
        "model": name,
        "nodes": graph.num_nodes,
        "parameters_M": written / 4e6,
        "gflop": flop / 1e9,
        "predict_ms": 1e3 * taken,
        "fresh_ms": 1e3 * taken_fresh,
        "floor_ms": 1e3 * floor,
        "ratio": taken / floor,
        "peak_MB": memory,
        "written_MB": written / 1e6,
    }


def multiply_adds(ghn: GHN3, graph: Data) -> int:
    r"""The multiply-adds of the products that the definition of GHN-3 asks for: layers, and for
    each parameter those positions and channels of the decoder that it needs."""
    d, nodes = ghn.hidden_channels, graph.num_nodes
    c_out, c_in, size, _ = ghn.decoder.max_shape
    total = len(ghn.convs) * (12 * d * d * nodes + 2 * d * nodes * nodes)
    vectors = {PRIMITIVES.index(op) for op in ("bias", "bn", "ln")}
    for op, name, shape in zip(
        graph.x.view(-1).tolist(), graph.param_name, graph.param_shape, strict=True
    ):
        if name is None:
            continue
        if op in vectors:
            total += 2 * d * d + 4 * d * max(c_out, c_in)
            continue
        out, in_, height, width = as_4d(shape)
        positions = min(height, size) * min(width, size)
        channels = min(out, c_out) * min(in_, c_in)
        total += positions * (4 * d * d + 32 * d * d + 8 * d * channels)
        if out == ghn.num_classes:
            total += prod((c_out, min(in_, c_in), ghn.num_classes))
    return total
