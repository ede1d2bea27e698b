r"""How long checkpoints of every kind take to load, and how much memory: ``python
benchmarks/loading.py``. Files of one size of GHN are made one after the other in a temporary
folder (2.6 GB for GHN-3-XL); each is loaded by fresh processes. Writes ``results/loading.json`` and
``.md``."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import _measure as measuring
import joblib
import torch

from pyg_ghn.checkpoint import from_pretrained, save_pretrained
from pyg_ghn.checkpoint.config import their_name
from pyg_ghn.nn import GHN, GHN2, GHN3

CLASSES = {name: cls for cls in (GHN2, GHN3) for name in cls.CONFIGS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="ghn3-xl", choices=list(CLASSES))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room for one file")
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("size", "formats", "repeats")}
    result: dict[str, Any] = {"environment": measuring.environment(**settings), "rows": []}
    ghn = random_ghn(options.size)
    for name in options.formats:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / ("ghn.safetensors" if name == "safetensors" else "ghn.pt")
            FORMATS[name](ghn, path)
            row = {"format": name, **measure(path, options.repeats)}
        result["rows"].append(row)
        print(row, flush=True)
    text = measuring.table(result["rows"])
    print(f"\n{text}\n\n{measuring.save('loading', result, text, options.out)}")


def random_ghn(size: str) -> GHN:
    r"""A GHN whose parameters are random numbers of the usual size, which hardly compress."""
    with torch.device("meta"):
        ghn = CLASSES[size].from_config(size)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.empty(p.shape).normal_(std=0.02, generator=generator)
        for name, p in ghn.state_dict().items()
    }
    ghn.load_state_dict(state, assign=True)
    return ghn


def measure(path: Path, repeats: int) -> dict[str, Any]:
    r"""Loads a file that the operating system has just seen, each time in a process of its own."""
    loads = []
    for _ in range(repeats):
        with get_context("spawn").Pool(1) as pool:
            loads.append(pool.apply(load, (path,)))
    wall, cpu, memory = zip(*loads, strict=True)
    size, peak = path.stat().st_size / 1e6, max(memory)
    return {
        "file MB": size,
        "load s": statistics.median(wall),
        "load CPU s": statistics.median(cpu),  # where other processes want the cores too
        "peak MB above import": peak,
        "peak / file": peak / size,
    }


def load(path: Path) -> tuple[float, float, float]:
    r"""Seconds, seconds of the processor, and peak MB."""
    with measuring.peak_memory() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        from_pretrained(path)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        return *seconds, peak() * 1024**2 / 1e6


def released(ghn: GHN) -> dict[str, torch.Tensor]:
    r"""The state dict with the authors' names."""
    return {their_name(name): value for name, value in ghn.state_dict().items()}


def training(ghn: GHN, path: Path, **kwargs: Any) -> None:
    torch.save({"state_dict": released(ghn), "config": {}, "epoch": 1}, path, **kwargs)


def dump(ghn: GHN, path: Path, **kwargs: Any) -> None:
    joblib.dump(released(ghn), path, **kwargs)


FORMATS: dict[str, Callable[[GHN, Path], object]] = {
    "safetensors": save_pretrained,
    "torch.save": training,
    "torch.save, before 1.6": partial(training, _use_new_zipfile_serialization=False),
    "joblib": dump,
    "joblib, zlib": partial(dump, compress=("zlib", 1)),
    "joblib, gzip": partial(dump, compress=("gzip", 1)),
}

if __name__ == "__main__":
    main()
