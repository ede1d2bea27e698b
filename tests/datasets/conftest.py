from pathlib import Path

import pytest

from pyg_ghn.datasets.generate import records as generated


@pytest.fixture(scope="session")
def records():
    """A few networks of every kind of split."""
    counts = {"train": 16, "val": 3, "deep": 1, "dense": 2, "bnfree": 3}
    return [record for split, count in counts.items() for record in generated(split, count)]


@pytest.fixture(scope="session")
def golden_folder():
    """The 40 reference networks in the official format."""
    return Path(__file__).parents[1] / "golden" / "deepnets"
