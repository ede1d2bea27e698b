import subprocess
import sys
from dataclasses import fields

import pytest

from pyg_ghn.errors import ConfigError
from pyg_ghn.training import TrainConfig, train

COUNTS = "steps log_every save_every pool_size val_every accumulate".split()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": None}, "set steps, minutes or both"),
        *(({name: 0}, f"{name} must be 1 or more, got 0") for name in COUNTS),
        *(({name: 0}, f"{name} must be from 1 to 1024") for name in ("processes", "threads")),
        ({"minutes": 0.0}, "minutes must be more than 0"),
        ({"meta_batch_size": 0, "fresh": 0}, "meta_batch_size must be 1 or more"),
        ({"batch_size": 1}, "batch_size must be from 2 to 65536"),
        ({"seed": -1}, r"seed must be from 0 to 2\*\*32 - 1, got -1"),
        ({"seed": 2**32}, "seed must be from 0 to"),
        ({"seed": None}, "seed must have a value"),
        ({"hidden_channels": 10**12}, "hidden_channels must be from 1 to 16384"),
        ({"lr": float("nan")}, "lr must be more than 0"),
        ({"lr": 0.0}, "lr must be more than 0"),
        ({"clip": -1.0}, "clip must be more than 0"),
        ({"network_clip": 0.0}, "network_clip must be more than 0"),
        ({"warmup": 1.0}, "warmup must be 0 or more and less than 1"),
        ({"warmup": -0.1}, "warmup must be 0 or more and less than 1"),
        ({"label_smoothing": 1.0}, "label_smoothing must be 0 or more and less than 1"),
        ({"mixed_precision": "half"}, "mixed_precision must be one of no, fp16, bf16, fp8"),
        ({"num_layers": -1}, "num_layers must be from 0 to 1024, got -1"),
        ({"edge_bias": "no"}, "edge_bias must be one of both, forward, none, got 'no'"),
        ({"penalty": "l1"}, "penalty must be one of norm, squared, none, got 'l1'"),
        ({"ema": 1.0}, "ema must be 0 or more and less than 1"),
        ({"image_size": 0}, "image_size must be from 1 to 4096"),
        ({"tracker": "x"}, "tracker must be one of tensorboard, wandb, got 'x'"),
        ({"heads": 0}, "heads must be from 1 to 16384, got 0"),
        ({"heads": 7}, "multiple of 4 and of heads, got hidden_channels=64, heads=7"),
        ({"hidden_channels": 10, "heads": 5}, "multiple of 4 and of heads"),
        ({"max_shape": (64, 64, 7)}, "max_shape must be"),
        ({"max_shape": (64, 64, 7, 5)}, "max_shape must be"),
        ({"split": "hard"}, "split must be one of train, val, .*got 'hard'"),
        ({"max_cells": 3}, "max_cells=3 leaves no network: .*'train' have 4 cells or more"),
        ({"max_cells": 9, "split": "deep"}, "'deep' have 10 cells or more"),
        ({"dataset_root": "x", "split": "val"}, "the split 'train' or 'search', not 'val'"),
        ({"dataset_source": "x"}, "dataset_source must be one of official, generated, got 'x'"),
        *(
            ({"channels": value}, "channels must be a list of positive multiples of 8")
            for value in ([], [16, 20], 16)
        ),
        ({"lr": "1e-3"}, "lr must be more than 0, got '1e-3'"),
        ({"meta_batch_size": 8, "processes": 3}, "shared evenly by 3 processes"),
        ({"fresh": 9}, "fresh=9 must lie between 0 and the 8 networks"),
        ({"fresh": -1}, "fresh=-1 must lie between 0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{"steps": 1, **options})


def test_bounds_docstring_and_imports():
    with pytest.raises(ConfigError, match="config must be of type TrainConfig, got dict"):
        train({"steps": 3})
    options = {"batch_size": 2, "warmup": 0.0, "max_cells": 4, "channels": [8], "fresh": 8}
    assert TrainConfig(steps=1, **options).fresh == 8
    assert TrainConfig(minutes=0.5).steps is None
    for field in fields(TrainConfig):
        assert f"\n        {field.name} (" in TrainConfig.__doc__, field.name
    assert ":obj:" not in TrainConfig.__doc__.split("Args:")[1].split("Raises:")[0]
    code = "import sys, pyg_ghn.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
