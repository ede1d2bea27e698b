"""Do the official graphs of DeepNets-1M follow from the networks' arguments?

Every network's graph in the official HDF5 file, its two known errors mended, is compared with ours,
made from the arguments alone: both must be the same up to the order of nodes, with the operation
and parameter name of every node. Needs h5py (``pip install 'pyg-ghn[official]'``) and the files
``deepnets1m_{train,eval,search}.hdf5`` and ``deepnets1m_{train,eval,search}_meta.json``.

    python datasets/check_official.py --raw data/deepnets1m/raw --split test

The files are somebody else's: nothing outside of them is read, and nothing larger than a network.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import h5py
import networkx as nx
import numpy as np
from tqdm import tqdm

from pyg_ghn.architectures import SPLITS, network_graph
from pyg_ghn.datasets.official import META_FILES
from pyg_ghn.errors import DatasetError, GHNError
from pyg_ghn.graph import PRIMITIVES

MAX_NODES = 4096

Labels = list[tuple[str, str]]
Edges = list[tuple[int, int]]

_NAMELESS = {"input", "sum", "concat", "cse", "msa", "glob_avg", "max_pool", "avg_pool"}
_JOINS = {"concat", "sum", "cse"}
# The last nodes of the two parts of an ImageNet-style stem, with norm and without.
_STEM_ENDS = {
    True: ("stem0.4.weight", "stem1.2.weight"),
    False: ("stem0.3.weight", "stem1.1.weight"),
}
# What h5py and NumPy raise where a file is damaged.
_DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, required=True, help="Folder of the official files.")
    parser.add_argument("--split", required=True, choices=list(SPLITS))
    parser.add_argument("--num_networks", type=int, help="The first ones only.")
    args = parser.parse_args(argv)
    try:
        differing = check(args.raw, args.split, args.num_networks)
    except GHNError as error:
        sys.exit(f"check_official.py: {error}")
    if differing:
        sys.exit(f"{len(differing)} networks differ: {', '.join(map(str, differing))}")


def check(raw: Path, split: str, num_networks: int | None = None) -> list[int]:
    """Compares the networks of a split and returns the numbers of those that differ.

    Raises:
        DatasetError: If a file is missing or damaged, or they do not belong together.
    """
    meta_path = raw / META_FILES[split]
    hdf5_path = meta_path.with_name(meta_path.name.replace("_meta.json", ".hdf5"))
    nets, primitives, names = read_meta(meta_path, split)
    count = len(nets) if num_networks is None else min(num_networks, len(nets))
    differing = []
    with open_hdf5(hdf5_path) as file:
        for i in tqdm(range(count), split):
            try:
                ops_and_names, edges = read_graph(file, f"{split}/{i}", primitives, names)
                if nets[i].get("stem_type") == 1 and "msa" not in str(nets[i]["genotype"]):
                    edges = mend_stem(edges, ops_and_names, nets[i].get("norm") is not None)
                official = as_graph(ops_and_names, mend_inputs(edges, ops_and_names))
                ours = network_graph(nets[i])
            except (*_DAMAGE, GHNError) as error:
                raise DatasetError(
                    f"Network {i} of the split {split!r} in {hdf5_path} and {meta_path.name}: "
                    f"{error}"
                ) from error
            ops = [PRIMITIVES[op] for op in ours.x.flatten().tolist()]
            labels = list(zip(ops, (name or "" for name in ours.param_name), strict=True))
            ours = as_graph(labels, list(map(tuple, ours.edge_index.t().tolist())))
            if not nx.vf2pp_is_isomorphic(official, ours, "label"):
                differing.append(i)
    print(f"{split}: {count - len(differing)} of {count} graphs follow from the arguments.")
    return differing


def read_meta(
    path: Path, split: str
) -> tuple[list[dict[str, Any]], dict[int, str], dict[int, str]]:
    """The arguments of a split's networks, and the tables from id to primitive and name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))[split]
        tables = [
            {int(number): str(name) for number, name in content["meta"][key].items()}
            for key in ("primitives_ext", "unique_op_names")
        ]
        return content["nets"], *tables
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is missing, damaged or lacks {split!r}: {error!r}.") from error


def open_hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(f"{path} is missing, damaged or no HDF5 file: {error}.") from error


def read_graph(
    file: h5py.File, group: str, primitives: dict[int, str], names: dict[int, str]
) -> tuple[Labels, Edges]:
    """Operation and parameter name of each node, and the direct edges in ascending order."""
    nodes = read_array(file, f"{group}/nodes")
    adj = read_array(file, f"{group}/adj")
    if nodes.shape[1:] != (3,) or adj.shape != (len(nodes), len(nodes)):
        raise DatasetError(f"'nodes' of {nodes.shape} and 'adj' of {adj.shape} are no graph.")
    labels = []
    for primitive, cell, name in nodes.tolist():
        if primitive not in primitives or name not in names:
            raise DatasetError(f"a node's ids {primitive} and {name} are not in the tables.")
        op = our_op(primitives[primitive])
        labels.append((op, our_name(names[name], cell, op)))
    return labels, list(map(tuple, np.argwhere(adj == 1).tolist()))


def read_array(file: h5py.File, path: str) -> np.ndarray:
    """Reads whole numbers that are in the file itself, and no more than a network can have."""
    parent: Any = file
    for key in path.split("/"):
        if not isinstance(parent.get(key, getlink=True), h5py.HardLink):
            raise DatasetError(f"{path!r} is a link to somewhere else, or missing.")
        parent = parent[key]
    if not isinstance(parent, h5py.Dataset) or parent.external or parent.is_virtual:
        raise DatasetError(f"{path!r} is no array within the file.")
    if parent.dtype.kind not in "iu" or parent.ndim != 2 or not 0 < max(parent.shape) <= MAX_NODES:
        raise DatasetError(
            f"{path!r} must be a matrix of whole numbers, of at most {MAX_NODES} nodes, got "
            f"{parent.dtype} of {parent.shape}."
        )
    return parent[()]


def our_op(name: str) -> str:
    """Our name of a primitive: without the kernel's size."""
    op = "bias" if name == "fc-b" else re.sub(r"(?<=conv|pool)(_\d+x\d+)+$", "", name)
    if op not in PRIMITIVES:
        raise DatasetError(f"the primitive {name!r} is unknown; known are {', '.join(PRIMITIVES)}.")
    return op


def our_name(name: str, cell: int, op: str) -> str:
    """The full name of a node's parameter in :class:`~pyg_ghn.architectures.Network`, given that in
    a file of any age; "" where a node of this operation has none."""
    if op in _NAMELESS:
        return ""
    name = re.sub(r"^((?:_ops\.|preprocess)\d+)\.(?=\d)", r"\1.op.", name.rstrip("."))
    name = re.sub(r"^(_ops\.\d+)\.(?=to_qkv|to_out)", r"\1.attn.", name)
    if not name.endswith((".weight", ".bias")):
        name += ".bias" if op == "bias" else ".weight"
    if name.startswith((f"cells.{cell}.", "stem", "pos_enc.", "classifier.")):
        return name
    return f"cells.{cell}.{name}"


def mend_stem(edges: Edges, labels: Labels, norm: bool) -> Edges:
    """Mends the first known error of the files, in networks with an ImageNet-style stem (but no
    ViTs): what reads the stem's second part was said to read its first one."""
    places = {name: node for node, (_, name) in enumerate(labels) if name}
    if not places.keys() >= set(_STEM_ENDS[norm]):
        return edges  # a part of the stem is cut off
    stem0, stem1 = (places[name] for name in _STEM_ENDS[norm])
    readers = [target for source, target in edges if source == stem0]
    if sum(source == stem1 for source, _ in edges) != 1 or len(readers) < 2:
        return edges
    before, last = readers[-2:]
    if last - before == 1:
        return edges
    return sorted({*edges, (stem1, last)} - {(stem0, last)})


def mend_inputs(edges: Edges, labels: Labels) -> Edges:
    """Mends the second one: nodes that can have one input only keep the first one."""
    first = {target: source for source, target in reversed(edges)}
    return [(s, t) for s, t in edges if labels[t][0] in _JOINS or first[t] == s]


def as_graph(labels: Labels, edges: Edges) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from((node, {"label": label}) for node, label in enumerate(labels))
    graph.add_edges_from(edges)
    return graph


if __name__ == "__main__":
    main()
