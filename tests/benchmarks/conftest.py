"""Fixtures of the paper's tables."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """Modules of benchmarks, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def options(module, tmp_path):
    """Options whose rows go to a temporary folder."""

    def make(**given):
        return module("tables.options").Options(**{"out": str(tmp_path), "device": "cpu", **given})

    return make


@pytest.fixture
def collect(module):
    """Runs the jobs of rows and returns the results."""

    def run(rows, options):
        frame = module("tables.rows")
        frame.prepare(rows, options)
        frame.collect(rows, options)
        return frame.read(options.folder / f"{rows.name}.jsonl", rows)

    return run
