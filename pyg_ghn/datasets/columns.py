r"""Many graphs, attribute by attribute: as a list of graphs or as one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from pyg_ghn.transforms.graphs import MAX_NODES, FlatValues, Graphs

Transform = Callable[[Data], Data]


class Columns:
    r"""The attributes of many graphs, to be used once.

    Transforms with a method :obj:`encode_many`, from :class:`Graphs` to attributes by name, take
    all graphs at once: the encodings of this package. From the first other one on, every graph is
    transformed for itself.

    Args:
        graphs (Graphs): The edges.
        ops (numpy.ndarray): Rows of :obj:`PRIMITIVES` of all nodes.
        lists (dict): The other attributes, by name: one value for each graph.
    """

    def __init__(self, graphs: Graphs, ops: np.ndarray, lists: dict[str, Sequence[Any]]):
        self.graphs = graphs
        self.flat = {"x": FlatValues(torch.from_numpy(ops).view(-1, 1), graphs.num_nodes)}
        self.lists = lists

    def items(self, transform: Transform | None = None) -> list[Data]:
        r"""The graphs, transformed."""
        rest = self._encode(transform)
        graphs = self.graphs
        local = torch.from_numpy(graphs.edges - np.repeat(graphs.starts, graphs.num_edges))
        columns = {name: flat.values.split(flat.sizes.tolist()) for name, flat in self.flat.items()}
        columns["edge_index"] = local.split(graphs.num_edges.tolist(), dim=1)
        columns |= self.lists
        items = [
            _fill(Data(), dict(zip(columns, values, strict=True)))
            for values in zip(*columns.values(), strict=True)
        ]
        return [rest(item) for item in items] if rest.transforms else items

    def batch(self, transform: Transform | None = None) -> Batch:
        r"""The same graphs as those of :meth:`items`, as :func:`collate` joins them, but faster."""
        rest = self._encode(transform)
        if rest.transforms:
            return collate(self.items(rest))
        graphs, count = self.graphs, len(self.graphs.num_nodes)
        each, zeros = torch.arange(count + 1), torch.zeros(count, dtype=torch.long)
        ptr = _slices(graphs.num_nodes)
        columns = {
            name: (values, ptr if sizes is graphs.num_nodes else _slices(sizes), zeros)
            for name, (values, sizes) in self.flat.items()
        }
        edges = torch.from_numpy(graphs.edges)
        columns["edge_index"] = (edges, _slices(graphs.num_edges), torch.from_numpy(graphs.starts))
        for name, values in self.lists.items():
            if isinstance(values[0], int):
                columns[name] = (torch.tensor(values), each, zeros)
            else:
                columns[name] = (list(values), each, None)
        values, slices, increments = (
            dict(zip(columns, parts, strict=True)) for parts in zip(*columns.values(), strict=True)
        )
        batch = torch.from_numpy(np.repeat(np.arange(count), graphs.num_nodes))
        return fill_batch(values | {"batch": batch, "ptr": ptr}, slices, increments, count)

    def _encode(self, transform: Transform | None) -> Compose:
        """Applies the first transforms to all graphs and returns the others."""
        steps = list(_steps(transform))
        if self.graphs.num_nodes.max() <= MAX_NODES:
            while steps and (encode_many := getattr(steps[0], "encode_many", None)):
                self.flat |= encode_many(self.graphs)
                del steps[0]
        return Compose(steps)


def collate(items: list[Data]) -> Batch:
    r"""Joins items as :meth:`~torch_geometric.data.Batch.from_data_list` does, but an attribute
    that is a dictionary becomes a list of dictionaries rather than one of lists and tensors."""
    names = [name for name, value in items[0].to_dict().items() if isinstance(value, dict)]
    batch = Batch.from_data_list(items, exclude_keys=names)
    for name in names:
        batch[name] = [item[name] for item in items]
        batch._slice_dict[name] = torch.arange(len(items) + 1)
        batch._inc_dict[name] = None
    return batch


def _steps(transform: Any) -> Iterator[Transform]:
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from _steps(step)
    elif transform is not None:
        yield transform


def _slices(sizes: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))


def fill_batch(
    values: dict[str, Any],
    slices: dict[str, Tensor],
    increments: dict[str, Tensor | None],
    num_graphs: int,
) -> Batch:
    r"""A batch from its attributes, and what it needs to separate them again."""
    batch = _fill(copy.copy(_empty_batch()), values)
    batch._num_graphs, batch._slice_dict, batch._inc_dict = num_graphs, slices, increments
    return batch


@lru_cache(maxsize=1)
def _empty_batch() -> Batch:
    return Batch(_base_cls=Data)  # makes a class each time


def _fill(data: Data, values: dict[str, Any]) -> Data:
    # All at once: attribute by attribute it takes longer than all the rest.
    data._store._mapping.update(values)
    return data
