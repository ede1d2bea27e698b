from pathlib import Path

import pytest

from pyg_ghn.architectures import split_net_args
from pyg_ghn.datasets.generate import with_num_nodes


@pytest.fixture(scope="session")
def nets():
    """Rows of a few networks of every kind of split."""
    counts = {"train": 16, "val": 3, "deep": 1, "dense": 2, "bnfree": 3}
    nets = [args for split, count in counts.items() for args in split_net_args(split, count)]
    return list(map(with_num_nodes, nets))


@pytest.fixture(scope="session")
def golden_folder():
    """The 40 reference networks in the official format."""
    return Path(__file__).parents[1] / "golden" / "deepnets"
