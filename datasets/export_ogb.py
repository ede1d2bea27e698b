"""Writes a split of DeepNets-1M in the format of the Open Graph Benchmark (docs/ogb.md), from
`"Open Graph Benchmark: Datasets for Machine Learning on Graphs" <https://arxiv.org/abs/2005.00687>`_.
Needs the package ogb.

    python datasets/export_ogb.py --root data/deepnets1m --split test --out data/ogb_test

The target is the number of parameters in millions, or with --results what was measured: the results
of ``pyg-ghn evaluate``, of which those networks are exported that it evaluated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph import PRIMITIVES

if TYPE_CHECKING:
    from ogb.graphproppred import Evaluator, PygGraphPropPredDataset

SHARES = (0.8, 0.1)  # of the networks, for training and validation; the others are for testing


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="Folder of the data set.")
    parser.add_argument("--split", default="test")
    parser.add_argument("--source", default="generated", choices=("official", "generated"))
    parser.add_argument("--num_networks", type=int, help="The first ones only.")
    parser.add_argument("--out", type=Path, required=True, help="Folder to make.")
    parser.add_argument("--results", type=Path, help="results.json of an evaluation.")
    parser.add_argument("--field", default="accuracy", help="What to predict of the results.")
    args = parser.parse_args(argv)
    try:
        export_split(args)
    except (DatasetError, ImportError) as error:
        sys.exit(f"export_ogb.py: {error}")


def export_split(args: argparse.Namespace) -> None:
    dataset = DeepNets1M(args.root, args.split, source=args.source, num_networks=args.num_networks)
    if args.results is None:
        meaning = "millions of parameters for 32x32 images, with 32 channels and 10 classes"
        graphs = list(dataset)
        targets = [graph.num_params["cifar10"] / 1e6 for graph in graphs]
    else:
        meaning = f"{args.field} of {args.results.name}"
        measured = read_results(args.results, args.split, args.field)
        graphs = [dataset[i] for i in measured if i < len(dataset)]
        targets = [measured[i] for i in measured if i < len(dataset)]
    export_ogb(graphs, targets, args.out, f"ogbg-deepnets1m-{args.split}", meaning)
    print(f"{len(graphs)} networks are in {args.out}; target: {meaning}.")


def read_results(path: Path, split: str, field: str) -> dict[int, float]:
    """What was measured, by the network's number in the split."""
    try:
        networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
        return {int(net["name"]): float(net[field]) for net in networks if net["split"] == split}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} has no results with the field {field!r}: {error!r}.") from error


def export_ogb(
    graphs: Iterable[Data],
    targets: Sequence[float],
    folder: str | os.PathLike,
    name: str = "ogbg-deepnets1m",
    meaning: str = "",
    seed: int = 0,
) -> None:
    r"""Writes graphs as a data set of the Open Graph Benchmark with a regression task (metric
    RMSE), by :class:`ogb.io.DatasetSaver`.

    A node's features are the row of :obj:`PRIMITIVES` and up to four dimensions of its parameter's
    shape, :obj:`0` where there are none. Networks are split at random into 80% for training, 10%
    for validation and 10% for testing.

    Args:
        graphs (iterable of torch_geometric.data.Data): As from
            :func:`~pyg_ghn.graph.from_module`. All of them are held in memory.
        targets (list of float): What is to be predicted for each.
        folder (str or os.PathLike): The folder to make.
        name (str, optional): The data set's name. (default: :obj:`"ogbg-deepnets1m"`)
        meaning (str, optional): What the target is, for the README. (default: :obj:`""`)
        seed (int, optional): Seed of the split. (default: :obj:`0`)

    Raises:
        DatasetError: If the folder exists or can't be written, there are not as many targets as
            graphs, or too few for the three parts.
        ImportError: If :obj:`ogb` is not installed.
    """
    from ogb.io import DatasetSaver

    folder = Path(folder)
    if folder.exists():
        raise DatasetError(f"{folder} exists; remove it, or choose another folder.")
    described = [_describe(graph) for graph in graphs]
    parts = _split(len(described), len(targets), seed)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made elsewhere and then renamed, so that it is whole or absent.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # ogb prints a lot
                saver = DatasetSaver(name, is_hetero=False, version=1, root=f"{temporary}/new")
                saver.save_graph_list(described)
                saver.save_target_labels(np.array(targets, dtype=np.float32).reshape(-1, 1))
                saver.save_split(parts, split_name="random")
                saver.save_task_info(task_type="regression", eval_metric="rmse")
                mapping = Path(temporary, "mapping")
                mapping.mkdir()
                (mapping / "README.md").write_text(_readme(name, meaning), encoding="utf-8")
                saver.copy_mapping_dir(mapping)
                saver.get_meta_dict()
            Path(saver.submission_dir).rename(folder)
    except OSError as error:
        raise DatasetError(f"Writing {folder} failed: {error.strerror or error}.") from error


class OgbTask(NamedTuple):
    r"""A data set of the Open Graph Benchmark, ready for use."""

    dataset: PygGraphPropPredDataset
    split: dict[str, np.ndarray]
    r"""Indices of the parts :obj:`"train"`, :obj:`"valid"` and :obj:`"test"`."""
    evaluator: Evaluator


def load_ogb(folder: str | os.PathLike) -> OgbTask:
    r"""Reads what :func:`export_ogb` wrote.

    Args:
        folder (str or os.PathLike): The folder; it may have been moved.

    Raises:
        DatasetError: If the folder holds no such data set.
        ImportError: If :obj:`ogb` is not installed.
    """
    from ogb.graphproppred import Evaluator, PygGraphPropPredDataset

    path = Path(folder) / "meta_dict.pt"
    if not path.is_file():
        raise DatasetError(f"{path} is missing: {folder} was not made by export_ogb.")
    meta = torch.load(path, weights_only=True)
    meta["dir_path"] = str(Path(folder) / meta["download_name"])
    name = f"ogbg-{meta['download_name'].replace('_', '-')}"
    with torch.serialization.safe_globals(ogb_globals()):
        dataset = PygGraphPropPredDataset(name, meta_dict=meta)
        split = dataset.get_idx_split()
    evaluator = Evaluator.__new__(Evaluator)  # its __init__ knows the published data sets only
    evaluator.name, evaluator.num_tasks = dataset.name, dataset.num_tasks
    evaluator.eval_metric = dataset.eval_metric
    return OgbTask(dataset, split, evaluator)


def ogb_globals() -> list[Any]:
    r"""What OGB's files consist of besides tensors. OGB reads them with :func:`torch.load`, which
    since version 2.6 refuses anything else unless it is within
    :obj:`torch.serialization.safe_globals(ogb_globals())`. What PyG has admitted for good is not
    among them: that context takes back all that it was given."""
    numpy_values = (np.empty(0), np.int64(0))
    needed = (
        *(Data, DataEdgeAttr, DataTensorAttr, GlobalStorage),
        *(np.ndarray, np.dtype, type(np.dtype(np.int64))),
        *(value.__reduce__()[0] for value in numpy_values),
    )
    admitted = torch.serialization.get_safe_globals()
    return [kind for kind in needed if kind not in admitted]


def _describe(graph: Data) -> dict[str, Any]:
    shapes = np.zeros((graph.num_nodes, 4), dtype=np.int64)
    for row, shape in zip(shapes, graph.param_shape, strict=True):
        row[: len(shape or ())] = shape or ()
    return {
        "edge_index": graph.edge_index.cpu().numpy(),
        "node_feat": np.concatenate([graph.x.cpu().numpy(), shapes], axis=1),
        "num_nodes": graph.num_nodes,
    }


def _split(num_graphs: int, num_targets: int, seed: int) -> dict[str, np.ndarray]:
    if num_graphs != num_targets:
        raise DatasetError(f"There are {num_graphs} graphs but {num_targets} targets.")
    bounds = [round(num_graphs * share) for share in np.cumsum(SHARES)]
    order = np.random.default_rng(seed).permutation(num_graphs)
    parts = [np.sort(part) for part in np.split(order, bounds)]
    if not all(map(len, parts)):
        raise DatasetError(f"{num_graphs} networks are too few to train, validate and test on.")
    return dict(zip(("train", "valid", "test"), parts, strict=True))


def _readme(name: str, meaning: str) -> str:
    primitives = "\n".join(f"- {row}: {op}" for row, op in enumerate(PRIMITIVES))
    return (
        f"# {name}\n\nComputational graphs of neural networks. The target: {meaning or 'unnamed'}."
        "\n\nFeatures of a node: the primitive, and four dimensions of its parameter's shape (0 "
        f"for none). The primitives:\n\n{primitives}\n"
    )


if __name__ == "__main__":
    main()
