"""Fixtures shared by all tests."""

import gzip
import json
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _deterministic():
    torch.set_num_threads(1)  # two threads fight each other on small tensors
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden():
    """Reads ``tests/golden/NAME.json.gz``."""

    def read(name: str):
        with gzip.open(GOLDEN / f"{name}.json.gz") as file:
            return json.load(file)

    return read


@pytest.fixture(scope="session")
def assert_same_graph():
    """Two graphs have the same nodes in the same order, with the same labels and edges."""
    labels = "param_name param_shape bias_name unsupported unsupported_reason".split()

    def check(data, expected):
        for name in ("x", "edge_index"):
            assert torch.equal(data[name], expected[name]) and data[name].dtype == torch.long, name
        for name in labels:
            assert data[name] == expected[name], name

    return check
