r"""Named networks, built by functions and traced when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data

from pyg_ghn.datasets.columns import Columns
from pyg_ghn.graph import from_module
from pyg_ghn.transforms.graphs import Graphs

InputSize = tuple[int, int, int]
Builder = Callable[[int, InputSize], nn.Module]


class ModuleNetworks:
    r"""A source of networks for :class:`~pyg_ghn.datasets.dataset.NetworkDataset`.

    Args:
        builders (dict): Name to what builds the network from :obj:`(num_classes, input_size)`.
        num_classes (int): Number of classes of the graphs.
        input_size (tuple): Size of an image of the graphs.
        counted (dict): Name of a kind of images to their :obj:`(num_classes, input_size)`, for the
            numbers of parameters.
    """

    def __init__(
        self,
        builders: Mapping[str, Builder],
        num_classes: int,
        input_size: InputSize,
        counted: Mapping[str, tuple[int, InputSize]],
    ):
        self.names = list(builders)
        self.builders = dict(builders)
        self.num_classes = num_classes
        self.input_size = input_size
        self.counted = dict(counted)
        self._items: dict[int, Data] = {}

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def node_counts(self) -> np.ndarray:
        r"""The number of nodes of every network."""
        return np.array([self._item(number).num_nodes for number in range(len(self))])

    def read(self, numbers: Sequence[int], epoch: int) -> Columns:
        r"""The graphs of some networks, the same ones in each epoch."""
        items = [self._item(number) for number in numbers]
        sizes, num_edges = (
            np.array([getattr(item, name) for item in items]) for name in ("num_nodes", "num_edges")
        )
        edges = np.concatenate([item.edge_index.numpy() for item in items], axis=1)
        edges += np.repeat(np.cumsum(sizes) - sizes, num_edges)
        ops = torch.cat([item.x.view(-1) for item in items]).numpy()
        lists = {
            name: [item[name] for item in items]
            for name in items[0].to_dict()
            if name not in ("x", "edge_index")
        }
        return Columns(Graphs(sizes, num_edges, edges), ops, lists)

    def network(
        self,
        number: int,
        epoch: int,
        num_classes: int,
        input_size: InputSize,
        device: torch.device | str | None,
    ) -> nn.Module:
        r"""Builds a network, the same one in each epoch."""
        build = self.builders[self.names[number]]
        if device is not None and torch.device(device).type == "meta":
            return _skeleton(build, num_classes, input_size)
        model = build(num_classes, input_size)
        return model if device is None else model.to(device)

    def _item(self, number: int) -> Data:
        if number not in self._items:
            name = self.names[number]
            build = self.builders[name]
            item = from_module(_skeleton(build, self.num_classes, self.input_size), self.input_size)
            item.net_id = number
            item.name = name
            item.net_args = {"name": name}
            item.num_params = {
                images: sum(p.numel() for p in _skeleton(build, *size).parameters())
                for images, size in self.counted.items()
            }
            self._items[number] = item
        return self._items[number]


def _skeleton(build: Builder, num_classes: int, input_size: InputSize) -> nn.Module:
    from accelerate import init_empty_weights

    # Not `torch.device("meta")`, under which some models of torchvision compute with values.
    with init_empty_weights():
        return build(num_classes, input_size).to("meta")
