import pytest

from pyg_ghn.training import TrainConfig


@pytest.fixture
def small_config(tmp_path):
    """A run of seconds: a tiny GHN, small networks, the embedded digits."""
    ghn = {"hidden_channels": 16, "num_layers": 1, "heads": 4, "max_shape": (16, 16, 7, 7)}
    networks = {"max_cells": 5, "channels": [8], "pool_size": 4, "meta_batch_size": 2}
    run = {"batch_size": 16, "steps": 4, "log_every": 2, "save_every": 2, "lr": 1e-3}
    options = {"out": str(tmp_path / "run"), "images": "digits", **ghn, **networks, **run}
    return lambda **changes: TrainConfig(**options | changes)
