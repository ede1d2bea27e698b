from pathlib import Path

import numpy as np
import pytest

from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.datasets import NetworkRecord
from pyg_ghn.graph import from_module


def traced_record(net_args):
    """The record of a network, by tracing it: the truth that faster ways have to give."""
    data = from_module(network_from_args(net_args, device="meta"))
    return NetworkRecord(
        net_args,
        data.x[:, 0].numpy().astype(np.uint8),
        data.edge_index.numpy().astype(np.uint16),
        [name or "" for name in data.param_name],
    )


@pytest.fixture(scope="session")
def records():
    """A few networks of every kind of split."""
    splits = {"train": 16, "val": 3, "deep": 1, "dense": 2, "bnfree": 3}
    return [traced_record(args) for split, n in splits.items() for args in split_net_args(split, n)]


@pytest.fixture(scope="session")
def golden_folder():
    """The 40 reference networks in the official format."""
    return Path(__file__).parents[1] / "golden" / "deepnets"
