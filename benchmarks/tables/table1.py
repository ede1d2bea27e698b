r"""Table 1: sizes of the GHNs of the paper and of the given ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from pyg_ghn import GHN, GHN2, GHN3
from tables.checkpoints import CHECKPOINTS
from tables.options import Options
from tables.output import Table
from tables.rows import Job, Results, Row, Rows


def jobs(options: Options) -> Iterator[Job]:
    for cls in (GHN2, GHN3):
        for name in cls.CONFIGS:
            yield {"variant": name}, partial(size, cls, name)


def size(cls: type[GHN], name: str) -> Row:
    with torch.device("meta"):
        ghn = cls.from_config(name)
    return {"params": sum(p.numel() for p in ghn.parameters()), "config": ghn.config}


ROWS = (Rows("sizes", ("variant",), lambda options: {"classes": 1000}, jobs), CHECKPOINTS)


def report(sizes: Results, checkpoints: Results) -> list[Table]:
    columns = ("name", "layers L", "hidden size d", "heads k", "params", "train time (hours)")
    rows = []
    for row in (*sizes.rows, *checkpoints.rows):
        config, minutes = row["config"], row.get("training", {}).get("minutes")
        rows.append(
            [
                row.get("variant") or row["start"],
                config.get("num_layers"),
                config["hidden_channels"],
                config.get("heads"),
                f"{row['params'] / 1e6:.2f}M",
                minutes and minutes / 60,
            ]
        )
    return [Table("Details of GHNs", columns, rows)]
