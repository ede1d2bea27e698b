r"""Which models become graphs and how much of them a GHN can predict:
``python benchmarks/coverage.py``.

Takes one variant of each family, or with ``--all`` every variant, of torchvision, timm,
transformers and PyG (those that are installed) and writes every row into
``results/coverage.json`` and a table per library into ``docs/coverage.md``."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import coverage_models
import coverage_table
import torch
from completeness import missing_parameters
from torch_geometric.data import Data

from pyg_ghn._files import atomic_path
from pyg_ghn._version import versions
from pyg_ghn.graph import from_module
from pyg_ghn.graph.convert import record

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    installed = [name for name in coverage_models.LIBRARIES if importlib.util.find_spec(name)]
    parser.add_argument("--library", nargs="+", default=installed, choices=installed)
    parser.add_argument("--all", action="store_true", help="all variants of each family")
    parser.add_argument("--models", nargs="+", help="only models of these names (with * and ?)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each model")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/coverage.json")
    parser.add_argument("--table", type=Path, default=ROOT / "docs/coverage.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for library in options.library:
        cases = coverage_models.LIBRARIES[library]()
        for case in _chosen(cases, options.models, options.all):
            row = {"library": library, "family": case.family, "model": case.name}
            row |= measure(case, options.timeout)
            rows.append(row)
            print(coverage_table.line(row), flush=True)
    result = {
        "versions": versions() | {name: version(name) for name in options.library},
        "all": options.all,
    }
    lines = ",\n".join(map(json.dumps, rows))  # one model a line
    _write(options.json, f'{json.dumps(result)[:-1]}, "rows": [\n{lines}\n]}}')
    _write(options.table, coverage_table.document(result, rows))
    print(f"\n{coverage_table.summary(rows)}\n{options.json}\n{options.table}")


def _chosen(
    cases: Iterable[coverage_models.Case], names: list[str] | None, every: bool
) -> Iterator[coverage_models.Case]:
    """One variant of each family, or all."""
    seen = set()
    for case in cases:
        wanted = names is None or any(fnmatch(case.name, pattern) for pattern in names)
        if wanted and (every or case.family not in seen):
            seen.add(case.family)
            yield case


def measure(case: coverage_models.Case, timeout: float) -> dict[str, Any]:
    r"""Makes the graph of one model and checks that it holds all that it should.

    Args:
        case (Case): The model.
        timeout (float): Seconds after which it is given up.

    Returns:
        A row of the table, with an ``error`` if the model can't be built or traced.
    """
    stage = "build"
    try:
        with time_limit(timeout):
            model, inputs = case.build(), case.inputs()
            stage = "graph"
            start = time.process_time()
            data = from_module(model, **inputs)
            milliseconds = 1e3 * (time.process_time() - start)
            stage = "check"
            trace = record(model, **inputs)
            missing = missing_parameters(trace, data)
    except (Exception, OutOfTime) as error:  # whatever a library raises belongs into its row
        return {"error": f"{type(error).__name__}: {error}", "stage": stage}
    finally:
        gc.collect()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return {
        "mode": "train" if model.training else "eval",
        "pass": "meta" if all(t.is_meta for t in trace.inputs) else "real",
        "nodes": data.num_nodes,
        "edges": data.num_edges,
        "parameters": len(sizes),
        "values": sum(sizes.values()),
        "left": _left(data, sizes),
        "missing": missing,
        "milliseconds": round(milliseconds, 1),
    }


def _left(data: Data, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """What keeps its own initialization, by the last part of its name and the reason."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for name, reason in zip(data.unsupported, data.unsupported_reason, strict=True):
        kinds.setdefault((name.rpartition(".")[2], reason), []).append(sizes[name])
    return [
        {"name": name, "reason": reason, "parameters": len(values), "values": sum(values)}
        for (name, reason), values in kinds.items()
    ]


class OutOfTime(BaseException):
    r"""No :obj:`Exception`, which libraries and the tracer catch."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    r"""Raises :class:`OutOfTime` in the main thread when the time is up (Unix)."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"took more than {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n")


if __name__ == "__main__":
    main()
