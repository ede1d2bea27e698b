r"""How cost grows with size: power laws fitted to what the other parts measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyg_ghn._files import atomic_path


class Law(NamedTuple):
    r"""One quantity against another, both positive, as rows of measurements hold them."""

    title: str
    x: str
    y: str
    rows: Sequence[dict[str, Any]]

    @property
    def points(self) -> np.ndarray:
        pairs = ((row[self.x], row[self.y]) for row in self.rows)
        return np.array([pair for pair in pairs if min(pair) > 0], dtype=float)

    def fit(self) -> tuple[float, float]:
        r"""Factor and exponent of the power law, least squares of the logarithms."""
        x, y = np.log(self.points).T
        exponent, factor = np.polyfit(x, y, 1)
        return float(np.exp(factor)), float(exponent)


def laws(result: dict[str, Any]) -> list[Law]:
    r"""The laws that the results of :obj:`speed.py` allow."""
    steps = result["training"]
    return [
        Law("graph construction", "nodes", "graph_ms", result["graphs"]),
        Law("encodings", "nodes", "encode_ms", result["graphs"]),
        Law("prediction, GHN-3-T", "parameters_M", "predict_ms", result["growth"]),
        Law("memory of a prediction, GHN-3-T", "parameters_M", "peak_MB", result["growth"]),
        Law("GHN-3 embedding", "nodes", "GHN-3_ms", result["levels"]),
        Law("GHN-2 embedding", "nodes", "GHN-2_ms", result["levels"]),
        Law("training step", "meta_batch", "step_s", steps),
        Law("memory of training steps", "meta_batch", "peak_MB", steps),
    ]


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    r"""The fitted exponents."""
    return [
        {"cost": law.title, "of": law.y, "against": law.x, "exponent": law.fit()[1]}
        for law in laws(result)
    ]


def plot(result: dict[str, Any], path: Path) -> None:
    r"""Draws every law over its measurements."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, law in zip(figure.subplots(2, 4).flat, laws(result), strict=True):
        points, (factor, exponent) = law.points, law.fit()
        ends = np.array([points[:, 0].min(), points[:, 0].max()])
        axes.loglog(*points.T, "o", markersize=3, color="#0072b2")
        axes.loglog(ends, factor * ends**exponent, color="#d55e00")
        title = f"{law.title}\nexponent {exponent:.2f}"
        axes.set(title=title, xlabel=law.x.replace("_", " "), ylabel=law.y.replace("_", " "))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.4)))
        axes.grid(alpha=0.3, which="both")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
