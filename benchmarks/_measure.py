r"""What every benchmark needs: times, peak memory, the floors of this machine, results on disk."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pyg_ghn._files import atomic_path
from pyg_ghn._version import versions

RESULTS = Path(__file__).parent / "results"


def seconds(
    function: Callable[[], Any],
    repeats: int = 5,
    warmup: int = 1,
    before: Callable[[], None] = lambda: None,
) -> float:
    r"""The median time of a call, in seconds, after :obj:`warmup` calls that do not count;
    :obj:`before` is called before each and does not count either."""
    for _ in range(warmup):
        function()
    times = []
    for _ in range(repeats):
        before()
        start = time.perf_counter()
        function()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    r"""Gives a function that tells the MB that the process took at most within the block, above
    what it had at the start (Linux; NaN elsewhere)."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def resident(field: str) -> float:
        if not status.exists():
            return float("nan")
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 1024

    if clear.exists():
        release_memory()  # what was kept from earlier calls would hide what is taken
        clear.write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    yield lambda: resident("VmHWM") - before


@contextmanager
def kept_memory() -> Iterator[None]:
    r"""Large tensors take memory that the process has kept from earlier ones. By itself glibc now
    keeps it, now gives it back to the system, which clears it before it hands it out again."""
    _mallopt(2**31 - 1, 1 << 25, 0)
    try:
        yield
    finally:
        _mallopt(1 << 26, 1 << 25, 1 << 16)  # where it ends up by itself


def _mallopt(trim_threshold: int, mmap_threshold: int, mmap_max: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda parameter, value: None)
    for parameter, value in ((-1, trim_threshold), (-3, mmap_threshold), (-4, mmap_max)):
        mallopt(parameter, value)


def release_memory() -> None:
    r"""Gives all free memory back to the system (glibc)."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)


def floors() -> dict[str, float]:
    r"""What this machine does at best: GFLOP/s of a large product of matrices, GB/s written."""
    n = 3072
    a, b = torch.randn(n, n), torch.randn(n, n)
    buffer = torch.empty(64 << 20)
    return {
        "matmul_gflops": 2 * n**3 / seconds(lambda: a @ b, 7, 2) / 1e9,
        "write_gb_per_s": buffer.nbytes / seconds(lambda: buffer.fill_(1.0), 7, 2) / 1e9,
    }


def environment(**options: Any) -> dict[str, Any]:
    r"""What a figure depends on besides the code."""
    return {
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "options": options,
    }


def sentence(environment: dict[str, Any]) -> str:
    r"""The same for readers."""
    programs = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cores, threads = environment["cores"], environment["threads"]
    machine = environment["gpu"] or f"{environment['machine']}, {environment['cpu']}"
    return f"{threads} threads on {cores} cores ({machine}), {programs}."


def save(name: str, result: dict[str, Any], text: str, folder: Path = RESULTS) -> Path:
    r"""Writes ``<name>.json`` and ``<name>.md``."""
    for suffix, content in (("json", json.dumps(result, indent=1)), ("md", text)):
        with atomic_path(folder / f"{name}.{suffix}") as path:
            path.write_text(content + "\n")
    return folder / f"{name}.json"


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> str:
    r"""Rows as a Markdown table, numbers to three figures."""
    columns = list(columns or rows[0])
    cells = [columns, *([_shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)) + " |" for x in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
