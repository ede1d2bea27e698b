"""Fixtures of the paper's tables."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def module(monkeypatch):
    """Modules of benchmarks, by name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def options(module, tmp_path):
    """Options whose rows go to a temporary folder."""

    def make(**given):
        return module("tables.options").Options(**{"out": str(tmp_path), "device": "cpu", **given})

    return make
