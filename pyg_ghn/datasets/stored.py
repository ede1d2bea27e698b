r"""The networks of a file as graphs and modules of one width or another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from pyg_ghn.architectures import SPLITS, draw_width, network_from_args
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.datasets.columns import Columns
from pyg_ghn.datasets.items import ItemMaker
from pyg_ghn.datasets.shapes import is_large, unit_values
from pyg_ghn.datasets.store import Store

InputSize = tuple[int, int, int]

# Files may lack some arguments, but all items have the same ones.
_DEFAULTS = {"C": 32} | {
    field.name: field.default
    for field in fields(NetworkPlan)
    if field.default is not MISSING and field.name not in ("num_classes", "input_size")
}


class StoredNetworks:
    r"""The networks of a :class:`~pyg_ghn.datasets.Store`, for given images.

    Args:
        store (Store): The file.
        num_classes (int): Number of classes.
        input_size (tuple): Size of an image.
        seed (int): Seed of the widths, where the split has networks of no fixed width.
    """

    def __init__(self, store: Store, num_classes: int, input_size: InputSize, seed: int):
        self.store = store
        self.num_classes = num_classes
        self.input_size = input_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.store)

    @property
    def node_counts(self) -> np.ndarray:
        r"""The number of nodes of every network."""
        return self.store.num_nodes

    def read(
        self, numbers: Sequence[int], epoch: int, width: Mapping[str, int] | None = None
    ) -> Columns:
        r"""The graphs of some networks, as they are in an epoch or with a given width.

        Raises:
            ArchitectureError: If one of them cannot have that width.
        """
        networks = self.store.read(numbers)
        net_args = [
            self._with_width(text, number, epoch, self.input_size)
            for number, text in zip(numbers, networks.net_args, strict=True)
        ]
        if width:
            net_args = [args | width for args in net_args]
            for args in net_args:
                NetworkPlan(**network_arguments(args, input_size=self.input_size))
        units = [unit_values(args, self.num_classes, self.input_size) for args in net_args]
        others = {
            "net_args": net_args,
            "genotype": [args["genotype"] for args in net_args],
            "num_params": [args["num_params"] for args in net_args],
            "net_id": list(numbers),
        }
        return self._make_items(networks, units, others)

    def network(
        self,
        number: int,
        epoch: int,
        num_classes: int,
        input_size: InputSize,
        device: torch.device | str | None,
    ) -> nn.Module:
        r"""Builds a network with the width that it has in an epoch."""
        text = self.store.read([number]).net_args[0]
        net_args = self._with_width(text, number, epoch, input_size)
        return network_from_args(net_args, num_classes, input_size, device)

    @cached_property
    def _make_items(self) -> ItemMaker:
        return ItemMaker(self.store.kinds, is_large(self.input_size))

    def _with_width(self, text: bytes, number: int, epoch: int, size: InputSize) -> dict[str, Any]:
        net_args = _DEFAULTS | json.loads(text)
        net_args.pop("num_nodes", None)  # of no use, and not in all files
        split = SPLITS[self.store.split]
        if split.fixed_width:
            return net_args | {"C": split.widened(net_args["C"], size)}
        rng = np.random.default_rng((self.seed, epoch, number))
        return net_args | draw_width(net_args, rng, wide=is_large(size))
