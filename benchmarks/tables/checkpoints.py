r"""What is known of each GHN: its size, its configuration and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from pyg_ghn.checkpoint import read_metadata
from pyg_ghn.checkpoint.loading import find
from tables.options import Options
from tables.rows import Job, Row, Rows

TRAINING = (
    *("images", "steps_done", "minutes", "meta_batch_size", "batch_size", "gamma", "penalty"),
    *("weight_decay", "channels"),
)


def jobs(options: Options) -> Iterator[Job]:
    for label in options.whole_ghns:
        yield {"start": label}, partial(describe, options, label)


def describe(options: Options, label: str) -> Row:
    ghn, path = options.ghn(label), options.paths[label][0]
    training = read_metadata(path).get("training", {})
    log = find(path).with_name("log.jsonl")  # of the run that made it
    if log.is_file() and (lines := log.read_text().splitlines()):
        training["minutes"] = json.loads(lines[-1])["seconds"] / 60
    return {
        "class": type(ghn).__name__,
        "params": sum(p.numel() for p in ghn.parameters()),
        "config": ghn.config,
        "training": {name: training[name] for name in TRAINING if name in training},
    }


CHECKPOINTS = Rows("checkpoints", ("start",), lambda options: {}, jobs)
