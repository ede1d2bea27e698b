r"""What was aimed for, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from speed_startup import DEPENDENCIES, EVERYTHING

Rows = list[dict[str, Any]]


class Target(NamedTuple):
    r"""A limit for one figure of a part of :obj:`speed.py`."""

    what: str
    part: str
    value: Callable[[Rows], float]
    limit: float
    is_least: bool = False


def _row(rows: Rows, **keys: Any) -> dict[str, Any]:
    return next(row for row in rows if row.items() >= keys.items())


def _resnet50(rows: Rows, ghn: str) -> dict[str, Any]:
    return _row(rows, ghn=ghn, model="resnet50")


def _import_seconds(rows: Rows) -> float:
    with_us = _row(rows, process=f"{DEPENDENCIES}; {EVERYTHING}")["seconds"]
    return with_us - _row(rows, process=DEPENDENCIES)["seconds"]


TARGETS = [
    Target("graph of resnet50, ms", "graphs", lambda r: _row(r, model="resnet50")["total_ms"], 15),
    Target(
        "graph of any torchvision model, ms per 100 nodes",
        "graphs",
        lambda rows: max(row["ms_per_100_nodes"] for row in rows),
        25,
    ),
    Target(
        "prediction of resnet50 by T in kept memory, ms",
        "prediction",
        lambda rows: _resnet50(rows, "ghn3-t")["predict_ms"],
        25,
    ),
    Target(
        "prediction of resnet50 by XL, times its floor",
        "prediction",
        lambda rows: _resnet50(rows, "ghn3-xl")["ratio"],
        1.5,
    ),
    Target(
        "prediction by XL, times its floor, the worst model",
        "prediction",
        lambda rows: max(row["ratio"] for row in rows if row["ghn"] == "ghn3-xl"),
        1.5,
    ),
    Target(
        "the GHN's share of a training step with 8 networks",
        "training",
        lambda rows: _row(rows, meta_batch=8)["ghn_share"],
        0.2,
    ),
    Target(
        "networks generated, per s and core",
        "datasets",
        lambda rows: _row(rows, what="generator")["per_second"],
        50,
        is_least=True,
    ),
    Target(
        "graphs loaded, per s and core, the slowest",
        "datasets",
        lambda rows: min(row["per_second"] for row in rows if "loader" in row["what"]),
        500,
        is_least=True,
    ),
    Target("import beside torch and PyG, s", "startup", _import_seconds, 1),
    Target(
        "pyg-ghn --help, s",
        "startup",
        lambda rows: _row(rows, process="pyg-ghn --help")["seconds"],
        1.5,
    ),
]


def rows(result: dict[str, Any]) -> Rows:
    r"""A row for each target whose part was measured."""
    return [
        {
            "what": target.what,
            "target": f"{'>=' if target.is_least else '<='} {target.limit:g}",
            "measured": value,
            "met": "yes" if _is_met(target, value) else "no",
        }
        for target in TARGETS
        if target.part in result
        for value in [target.value(result[target.part])]
    ]


def _is_met(target: Target, value: float) -> bool:
    return value >= target.limit if target.is_least else value <= target.limit
