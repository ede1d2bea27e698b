r"""Table 3: the evaluation splits, all of their networks: sizes, and degrees and shortest paths of
the graphs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import split_statistics
from torch_geometric.data import Data

from pyg_ghn.architectures import network_graph, split_net_args
from pyg_ghn.architectures.splits import get_split
from pyg_ghn.datasets import TorchvisionModels
from tables.options import DEEPNETS, PYTORCH, Options, torchvision_names
from tables.output import Table
from tables.rows import Job, Results, Row, Rows


def jobs(options: Options) -> Iterator[Job]:
    count = options.count() if options.quick else None  # they cost little
    for split in options.splits:
        if split == PYTORCH:
            models = TorchvisionModels(torchvision_names()[:count])
            for i, name in enumerate(models.names):
                yield {"split": split, "network": name}, partial(measure_model, models, i)
        else:
            size = get_split(split).num_networks
            for i, net_args in enumerate(split_net_args(split, min(size, count or size))):
                yield (
                    {"split": split, "network": str(i)},
                    (partial(measure, partial(network_graph, net_args), net_args["num_params"])),
                )


def measure(graph: Callable[[], Data], num_params: dict[str, int]) -> Row:
    found = split_statistics.measure([(graph(), num_params)])
    nodes, degree, path, _ = (float(values[0]) for values in found)
    return {"nodes": nodes, "degree": degree, "path": path, "params": num_params["imagenet"]}


def measure_model(models: TorchvisionModels, i: int) -> Row:
    return measure(lambda: models[i], models[i].num_params)


ROWS = (Rows("graphs", ("split", "network"), lambda options: {"images": "imagenet"}, jobs),)


def report(graphs: Results) -> list[Table]:
    splits = defaultdict(list)
    for row in graphs.rows:
        splits[row["split"]].append(row)
    splits = {"DeepNets-1M": [row for split in DEEPNETS for row in splits[split]], **splits}
    columns = ["split", "networks", "params (M)", "degree", "path", "nodes"]
    rows = []
    for split, found in splits.items():
        cells = []
        for name, unit in (("params", 1e6), ("degree", 1), ("path", 1), ("nodes", 1)):
            values = np.array([row[name] for row in found]) / unit
            if len(values):
                spread = f"{values.mean():.1f}±{values.std():.1f}"
                cells.append(f"{spread} ({values.min():.1f}-{values.max():.1f})")
        if cells:
            rows.append([split, len(found), *cells])
    title = "The evaluation splits, for ImageNet: mean, standard deviation and range"
    return [Table(title, columns, rows)]
