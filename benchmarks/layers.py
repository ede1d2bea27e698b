r"""Forward and backward of one :obj:`GHN3Conv` with its bias, beside the same mathematics padded to
the largest graph and :obj:`GPSConv`, which has no bias: ``python benchmarks/layers.py``. Writes
``results/layers.json`` and ``.md``."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import _measure as measuring
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv, GPSConv
from torch_geometric.utils import erdos_renyi_graph, to_dense_batch

from pyg_ghn.nn import GHN3Conv, ShortestPathBias, to_dense_pairs
from pyg_ghn.transforms import AddShortestPathEncoding

CHANNELS, HEADS, CUTOFF = 64, 4, 20
CASES = [*product((10, 25), (32, 128, 512)), *product((100,), (32, 128)), *product((500,), (8, 32))]
SPREADS = {"equal": 0.0, "mixed": 0.5}
r"""Graphs of N nodes, or of N / 2 to 3 N / 2."""

SECONDS = 4  # that a case takes at least, for a small one is over before a disturbance is
SLOWER, SPEED_UP = 1.1, 1.3  # targets: times the others at most, the mean speed-up at least
Row = dict[str, Any]


def ours(conv: GHN3Conv, path_bias: ShortestPathBias, data: Batch) -> Tensor:
    return conv(data.x, data.batch, path_bias(data))


def padded(conv: GHN3Conv, path_bias: ShortestPathBias, data: Batch) -> Tensor:
    r"""The same. Only attention is padded, and the bias is looked up as well, so that this is the
    best that can be had by padding."""
    x, bias = data.x, path_bias(*to_dense_pairs(data.spd, data.batch))
    qkv, mask = to_dense_batch(conv.qkv(conv.norm1(x)), data.batch)
    q, k, v = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    attention = F.scaled_dot_product_attention(q, k, v, bias)
    x = x + conv.out(attention.transpose(1, 2).flatten(2)[mask])
    return x + conv.mlp(conv.norm2(x))


def gps(messages: bool) -> GPSConv:
    r"""The layer with messages as in PyG's example, or its attention alone."""
    mlp = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CHANNELS))
    conv = GINConv(mlp) if messages else None
    return GPSConv(CHANNELS, conv, HEADS, attn_type="multihead")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases and repeats")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--note", help="what else the figures depend on: goes into the results")
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative
    cases = CASES[::3] if options.quick else CASES
    repeats = 3 if options.quick else options.repeats
    settings = {"repeats": repeats, "note": options.note, "seed": 0}
    result: dict[str, Any] = {"environment": measuring.environment(**settings), "rows": []}
    with measuring.kept_memory():
        for (nodes, graphs), spread in product(cases, SPREADS):
            row = {"nodes": nodes, "graphs": graphs, "sizes": spread}
            row |= measure(make_batch(nodes, graphs, SPREADS[spread]), repeats)
            result["rows"].append(row)
            print(row, flush=True)
    result |= {"growth": growth(result["rows"]), "targets": targets(result["rows"])}
    text = report(result)
    print(f"\n{text}\n\n{measuring.save('layers', result, text, options.out)}")


def make_batch(nodes: int, graphs: int, spread: float) -> Batch:
    r"""Random undirected graphs with four neighbours a node in the mean."""
    rng, encode = np.random.default_rng(0), AddShortestPathEncoding(CUTOFF)
    least, most = round(nodes * (1 - spread)), round(nodes * (1 + spread))
    batch = []
    for size in rng.integers(least, most, graphs, endpoint=True).tolist():
        edges = erdos_renyi_graph(size, 4 / size)
        batch.append(encode(Data(x=torch.randn(size, CHANNELS), edge_index=edges)))
    return Batch.from_data_list(batch)


def measure(data: Batch, repeats: int) -> Row:
    r"""Times in ms, the least of some taken in turn, peaks of memory in MB, and how far the first
    two are apart in double precision."""
    data.x.requires_grad_()
    same = nn.ModuleList([GHN3Conv(CHANNELS, HEADS), ShortestPathBias(HEADS, CHANNELS, CUTOFF)])
    alone, whole = gps(messages=False), gps(messages=True)
    steps = {
        "ours": step(partial(ours, *same), same, data),
        "padded": step(partial(padded, *same), same, data),
        "attention of GPS": step(lambda d: alone(d.x, d.edge_index, d.batch), alone, data),
        "GPSConv": step(lambda d: whole(d.x, d.edge_index, d.batch), whole, data),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    stop = time.perf_counter() + SECONDS
    while len(times["ours"]) <= repeats or time.perf_counter() < stop:  # the first does not count
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    ms = {name: 1e3 * min(taken[1:]) for name, taken in times.items()}
    row: Row = {f"{name} ms": value for name, value in ms.items()}
    row |= {f"{name} / ours": ms[name] / ms["ours"] for name in steps if name != "ours"}
    row |= {f"{name} MB": peak_allocated(run) / 1e6 for name, run in steps.items()}
    data.x = data.x.detach().double().requires_grad_()
    exact = [step(partial(layer, *same.double()), same, data)() for layer in (ours, padded)]
    return row | {"apart": max((a - b).abs().max().item() for a, b in zip(*exact, strict=True))}


def step(
    layer: Callable[[Batch], Tensor], module: nn.Module, data: Batch
) -> Callable[[], list[Tensor]]:
    r"""Forward and backward: the output and all gradients."""
    inputs, weights = [data.x, *module.parameters()], data.x.detach().roll(1, 0)

    def run() -> list[Tensor]:
        out = layer(data)
        # GPSConv has a norm for messages even without any
        grads = torch.autograd.grad((out * weights).sum(), inputs, allow_unused=True)
        return [out.detach(), *grads]

    return run


def peak_allocated(function: Callable[[], Any]) -> int:
    r"""The most bytes of tensors at once, above those that are there before: exact, whereas the
    process takes memory by pages and keeps it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    taken = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    return int(np.cumsum([size for _, size in sorted(taken)]).max())


def growth(rows: list[Row]) -> list[Row]:
    r"""The exponents of N and of the number of graphs, fitted to all cases at once."""
    sides = [[np.log(row["nodes"]), np.log(row["graphs"]), 1.0] for row in rows]
    fitted = []
    for column in [column for column in rows[0] if column.endswith((" ms", " MB"))]:
        costs = np.log([row[column] for row in rows])
        (in_nodes, in_graphs, _), *_ = np.linalg.lstsq(np.array(sides), costs)
        fitted.append({"cost": column, "in N": float(in_nodes), "in graphs": float(in_graphs)})
    return fitted


def targets(rows: list[Row]) -> list[Row]:
    r"""What is aimed for, in the worst case or in the mean."""
    columns = [column for column in rows[0] if column.endswith(" / ours")]
    speed_up = statistics.mean(row["padded / ours"] for row in rows)
    memory = min(row["padded MB"] / row["ours MB"] for row in rows)
    found = [
        ("padded / ours, mean", SPEED_UP, speed_up),
        *((f"{name}, least", 1 / SLOWER, min(row[name] for row in rows)) for name in columns),
        ("padded MB / ours, least", 1.0, memory),
    ]
    return [
        {
            "what": what,
            "target": f">= {least:.2f}",
            "measured": value,
            "met": "yes" if value >= least else "no",
        }
        for what, least, value in found
    ]


def report(result: dict[str, Any]) -> str:
    options, rows = result["environment"]["options"], result["rows"]
    note = f" {options['note']}." if options["note"] else ""
    apart = max(row["apart"] for row in rows)
    kept = ("nodes", "graphs", "sizes")
    columns = [column for column in rows[0] if column not in kept and column != "apart"]
    times = [column for column in columns if not column.endswith("MB")]
    memory = [column for column in columns if column.endswith("MB")]
    sections = [
        "# One layer, forward and backward",
        measuring.sentence(result["environment"]) + note,
        f"{CHANNELS} channels, {HEADS} heads, on graphs of N nodes each (equal) or of N / 2 to "
        "3 N / 2 (mixed). `ours`: `GHN3Conv` and its bias from shortest paths. `padded`: the same, "
        "with attention padded to the largest graph; values and gradients are "
        f"{apart:.0e} apart at most in double precision. `GPSConv` with messages as in PyG's "
        "example, and its attention alone: both without a bias, their MLP half as wide. Times are "
        f"the least of {options['repeats']} or more, taken in turn for {SECONDS} s.",
        measuring.table(rows, [*kept, *times]),
        "## Peak memory\n\nof tensors, beside parameters and data.",
        measuring.table(rows, [*kept, *memory]),
        "## Targets",
        measuring.table(result["targets"]),
        "## Growth\n\nExponents of N and of the number of graphs, fitted to all cases.",
        measuring.table(result["growth"]),
    ]
    return "\n\n".join(sections)


if __name__ == "__main__":
    main()
