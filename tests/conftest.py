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
