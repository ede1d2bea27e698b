"""The benchmark of layers on a few small graphs."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def layers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("layers")


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_same_values_as_padded_and_a_report(layers, spread, monkeypatch):
    monkeypatch.setattr(layers, "SECONDS", 0)
    cases = [(nodes, graphs) for nodes in (4, 8) for graphs in (2, 5)]
    rows = []
    for nodes, graphs in cases:
        row = {"nodes": nodes, "graphs": graphs, "sizes": "some"}
        rows.append(row | layers.measure(layers.make_batch(nodes, graphs, spread), repeats=1))
        assert rows[-1]["apart"] < 1e-10
        assert 4 * 64 * nodes * graphs < 1e6 * rows[-1]["ours MB"] < 1e7
    settings = layers.measuring.environment(note="A note", repeats=1)
    result = {"environment": settings, "rows": rows, "targets": layers.targets(rows)}
    text = layers.report(result | {"growth": layers.growth(rows)})
    assert "A note." in text and "| padded / ours, mean" in text and "| GPSConv MB" in text
