r"""The official files of DeepNets-1M, network by network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.datasets.official_graph import (
    direct_edges,
    mend_inputs,
    mend_stem,
    topological_order,
)
from pyg_ghn.datasets.official_meta import read_meta
from pyg_ghn.datasets.official_names import OfficialNames
from pyg_ghn.datasets.record import NetworkRecord
from pyg_ghn.errors import DatasetError

# What h5py and numpy raise where a file is damaged.
_DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)


def read_official(
    hdf5_path: str | os.PathLike, meta_path: str | os.PathLike, split: str
) -> Iterator[NetworkRecord]:
    r"""Reads the networks of one split of the official files of `"Parameter Prediction for Unseen
    Deep Architectures" <https://arxiv.org/abs/2110.13100>`_, one at a time.

    Args:
        hdf5_path (str or os.PathLike): The graphs, *e.g.* :obj:`deepnets1m_eval.hdf5`.
        meta_path (str or os.PathLike): The arguments, *e.g.* :obj:`deepnets1m_eval_meta.json`.
        split (str): One of the splits in both files.

    Raises:
        DatasetError: If a file is missing, damaged or does not fit the other one.
    """
    return iter(OfficialSplit(hdf5_path, meta_path, split))


class OfficialSplit:
    r"""One split of the official files: its length, and its networks one at a time.

    The known errors of the graphs are mended, names are those of
    :class:`~pyg_ghn.architectures.Network` whatever the file's age.

    Args:
        hdf5_path (str or os.PathLike): See :func:`read_official`.
        meta_path (str or os.PathLike): See :func:`read_official`.
        split (str): See :func:`read_official`.

    Raises:
        DatasetError: See :func:`read_official`. What is wrong with a single network is told when
            it is read.
    """

    def __init__(self, hdf5_path: str | os.PathLike, meta_path: str | os.PathLike, split: str):
        self.hdf5_path, self.split = Path(hdf5_path), split
        self.meta = read_meta(Path(meta_path), split)
        with self._graphs():
            pass  # what does not fit is told at once

    def __len__(self) -> int:
        return self.meta.num_networks

    def __iter__(self) -> Iterator[NetworkRecord]:
        names = OfficialNames(self.meta)
        with self._graphs() as graphs:
            for i, net_args in enumerate(self.meta.net_args()):
                with self._locating(i):
                    record = _read_network(graphs, i, net_args, names)
                yield record

    @contextmanager
    def _graphs(self) -> Iterator[h5py.Group]:
        path, split = self.hdf5_path, self.split
        with ExitStack() as stack:
            try:
                file = stack.enter_context(h5py.File(path))
                lengths = {name: len(file[name]) for name in file}
            except FileNotFoundError as error:
                raise DatasetError(f"{path} is missing.") from error
            except _DAMAGE as error:
                raise DatasetError(
                    f"{path} is damaged or no HDF5 file: {error}. Fetch it again."
                ) from error
            if split not in lengths:
                raise DatasetError(f"{path} has no split {split!r} but {sorted(lengths)}.")
            if lengths[split] != len(self):
                raise DatasetError(
                    f"{path} has {lengths[split]} networks in the split {split!r}, but "
                    f"{self.meta.path} {len(self)}: they do not belong together."
                )
            yield file[split]

    @contextmanager
    def _locating(self, index: int) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise DatasetError(
                f"Network {index} of the split {self.split!r} in {self.hdf5_path} and "
                f"{self.meta.path.name}: {error}"
            ) from error


def _read_network(
    graphs: h5py.Group, index: int, net_args: Any, official_names: OfficialNames
) -> NetworkRecord:
    graph = graphs[str(index)]
    adj, nodes = graph["adj"][()], graph["nodes"][()]
    plan = _checked_plan(net_args, nodes)
    ops, names = official_names.resolve(nodes)
    _check_names(names, plan)
    edges = direct_edges(adj, len(ops))
    topological_order(edges, ops)  # what is damaged must not be mended
    if plan.stem_type == 1 and not plan.genotype.is_vit:
        edges = mend_stem(edges, names, norm=plan.norm is not None)
    edges = mend_inputs(edges, ops)
    order = topological_order(edges, ops)
    if order is not None:
        ops, names = ops[order], [names[node] for node in order]
        edges = np.argsort(order)[edges]
        edges = edges[:, np.lexsort(edges[::-1])]
    return NetworkRecord(net_args, ops, edges.astype(np.uint16), names)


def _checked_plan(net_args: Any, nodes: np.ndarray) -> NetworkPlan:
    if nodes.dtype.kind not in "iu" or nodes.shape[1:] != (3,) or not 0 < len(nodes) < 1 << 16:
        raise DatasetError(
            f"'nodes' must be whole numbers of shape [N, 3], got {nodes.dtype} of {nodes.shape}."
        )
    if not isinstance(net_args, Mapping):
        raise DatasetError(f"its arguments are no dictionary but {net_args!r}.")
    if net_args.get("num_nodes", len(nodes)) != len(nodes):
        raise DatasetError(
            f"it has {len(nodes)} nodes, but its arguments say {net_args['num_nodes']}."
        )
    counts = net_args.get("num_params")
    if not isinstance(counts, Mapping) or not {"cifar10", "imagenet"} <= set(counts):
        raise DatasetError(f"'num_params' must be those for cifar10 and imagenet, got {counts!r}.")
    return NetworkPlan(**network_arguments(net_args))


def _check_names(names: list[str], plan: NetworkPlan) -> None:
    named = [name for name in names if name]
    distinct = set(named)
    if len(distinct) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise DatasetError(f"several nodes stand for {twice!r}.")
    if unknown := distinct - plan.parameter_shapes.keys():
        raise DatasetError(
            f"the network of its arguments has no parameter {min(unknown)!r}: graph and arguments "
            "do not belong together."
        )
