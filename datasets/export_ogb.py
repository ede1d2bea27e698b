"""Writes a split of DeepNets-1M in the format of the Open Graph Benchmark (docs/ogb.md).

    python datasets/export_ogb.py --root data/deepnets1m --split test --out data/ogb_test

The target is the number of parameters in millions, or with --results what was measured: the results
of ``pyg-ghn evaluate``, of which those networks are exported that it evaluated.
"""

import argparse
import json
import sys
from pathlib import Path

from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.datasets.ogb import export_ogb
from pyg_ghn.errors import DatasetError


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
        export(args)
    except (DatasetError, ImportError) as error:
        sys.exit(f"export_ogb.py: {error}")


def export(args: argparse.Namespace) -> None:
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


if __name__ == "__main__":
    main()
