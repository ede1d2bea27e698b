r"""DeepNets-1M as a PyG data set."""

import json
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data, Dataset

from pyg_ghn._files import one_process
from pyg_ghn.architectures import (
    SPLITS,
    Network,
    network_from_args,
    network_graph,
    torchvision_model,
)
from pyg_ghn.architectures.plan import NetworkPlan
from pyg_ghn.datasets.table import NetworkTable, naming
from pyg_ghn.datasets.torchvision_models import InputSize, NamedNetworks, checked_images
from pyg_ghn.errors import DatasetError

PREDEFINED = "predefined"
SOURCES = ("official", "generated")


class DeepNets1M(Dataset):
    r"""The neural architectures of the `"Parameter Prediction for Unseen Deep Architectures"
    <https://arxiv.org/abs/2110.13100>`_ paper, as graphs and as networks.

    The data set is a table of the networks' arguments. Graphs are made on access: items have the
    attributes of :func:`~pyg_ghn.graph.from_module`, and

    - **net_args** (str): arguments for :func:`~pyg_ghn.architectures.network_from_args`, as JSON,
    - **genotype** (dict): the one in :obj:`net_args`,
    - **num_params** (dict): number of parameters with 32 first channels by kind of images,
      :obj:`"cifar10"` and :obj:`"imagenet"`,
    - **net_id** (int): the network's number in its split.

    Networks of the splits :obj:`"train"` and :obj:`"search"` have no width of their own, but 32
    first channels; :class:`~pyg_ghn.transforms.RandomWidth` gives them another one.

    Args:
        root (str): Folder of the data set. The official file is downloaded to :obj:`root/raw`,
            unless it is there; :obj:`root/processed` has the tables that are read.
        split (str): :obj:`"train"`, :obj:`"val"`, :obj:`"test"`, :obj:`"wide"`, :obj:`"deep"`,
            :obj:`"dense"`, :obj:`"bnfree"`, :obj:`"search"`, or :obj:`"predefined"` for ResNet-50
            and the ViT of the paper, which need no files.
        transform (callable, optional): Applied to an item at every access.
            (default: :obj:`None`)
        pre_filter (callable, optional): Which items are to be in the data set. It is asked whenever
            the data set is opened, for each item in its turn. (default: :obj:`None`)
        source (str, optional): :obj:`"official"` networks, or those :obj:`"generated"` in the same
            way. (default: :obj:`"official"`)
        num_networks (int, optional): Only so many networks, the first ones. Of generated ones there
            may be more than the split has, drawn in the same way behind its own. (default: all)
        num_classes (int, optional): Number of classes of the images. (default: 10; 1000 for images
            of more than 64 pixels)
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)
        log (bool, optional): Whether to show progress bars. (default: :obj:`True`)
        force_reload (bool, optional): Whether to convert or generate the networks anew.
            (default: :obj:`False`)

    Raises:
        DatasetError: If an argument is unknown, the official split has fewer networks than
            :obj:`num_networks`, or a file is missing, damaged or cannot be written.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        source: str = "official",
        num_networks: int | None = None,
        num_classes: int | None = None,
        input_size: InputSize = (3, 32, 32),
        log: bool = True,
        force_reload: bool = False,
    ):
        splits = (*SPLITS, PREDEFINED)
        for name, value, known in (("split", split, splits), ("source", source, SOURCES)):
            if value not in known:
                raise DatasetError(f"Unknown {name} {value!r}; choose from {', '.join(known)}.")
        if num_networks is not None and num_networks < 1:
            raise DatasetError(f"num_networks must be 1 or more, got {num_networks}.")
        self._num_classes, self.input_size = checked_images(num_classes, input_size)
        self.split = split
        self.source = source
        self.num_networks = num_networks
        root = os.fspath(root)
        super().__init__(root, transform, pre_filter=pre_filter, log=log, force_reload=force_reload)
        size = len(_PREDEFINED if split == PREDEFINED else self._table)
        if (num_networks or size) > size:
            raise DatasetError(
                f"num_networks={num_networks}, but there are only {size} {source} networks of the "
                f"split {split!r}."
            )
        self._numbers = range(num_networks or size)
        if pre_filter is not None:
            self._numbers = [i for i in self._numbers if pre_filter(self.get(i))]

    @property
    def num_classes(self) -> int:
        r"""The number of classes of the images."""
        return self._num_classes

    @property
    def node_counts(self) -> np.ndarray:
        r"""The number of nodes of each item, known without making its graph. For batches of limited
        size, give PyG's :class:`~torch_geometric.loader.DynamicBatchSampler` objects that have
        these numbers as their :obj:`num_nodes`."""
        if self.split == PREDEFINED:
            return np.array([item.num_nodes for item in self])
        return self._table.num_nodes[[self._number(i) for i in range(len(self))]]

    def net_args(self, i: int, input_size: InputSize | None = None) -> dict[str, Any]:
        r"""The arguments of item :obj:`i`, for :func:`~pyg_ghn.architectures.network_from_args` and
        :func:`~pyg_ghn.architectures.network_graph`.

        Args:
            i (int): The item.
            input_size (tuple, optional): Size of an image, on which the width of the networks of
                the split :obj:`"wide"` depends. (default: that of the data set)
        """
        if self.split == PREDEFINED:
            return json.loads(self._predefined.get(self._number(i)).net_args)
        return self._row(self._number(i), tuple(input_size or self.input_size))

    def network(
        self,
        i: int,
        num_classes: int | None = None,
        input_size: InputSize | None = None,
        device: torch.device | str | None = "meta",
    ) -> nn.Module:
        r"""Builds the network of item :obj:`i`.

        Args:
            i (int): The item.
            num_classes (int, optional): Number of classes. (default: that of the data set)
            input_size (tuple, optional): Size of an image. (default: that of the data set)
            device (optional): Where the parameters live, see
                :class:`~pyg_ghn.architectures.Network`. (default: :obj:`"meta"`)
        """
        images = num_classes or self.num_classes, tuple(input_size or self.input_size)
        if self.split == PREDEFINED:
            return self._predefined.network(self._number(i), *images, device)
        return network_from_args(self.net_args(i, images[1]), *images, device)

    def len(self) -> int:
        return len(self._numbers)

    def get(self, idx: int) -> Data:
        number = int(self._numbers[idx])
        if self.split == PREDEFINED:
            return self._predefined.get(number)
        net_args = self._row(number, self.input_size)
        item = network_graph(net_args, self.num_classes, self.input_size)
        item.net_args = json.dumps(net_args)
        item.genotype = net_args["genotype"]
        item.num_params = net_args["num_params"]
        item.net_id = number
        return item

    @property
    def processed_file_names(self) -> list[str]:
        if self.split == PREDEFINED:
            return []
        stem = f"{self.source}_{self.split}"
        if self.source == "generated":
            wanted = self.num_networks or SPLITS[self.split].num_networks
            there = [] if self.force_reload else Path(self.processed_dir).glob(f"{stem}_*.jsonl")
            sizes = [path.stem.rpartition("_")[2] for path in there]
            enough = (int(size) for size in sizes if size.isdecimal() and int(size) >= wanted)
            stem = f"{stem}_{min(enough, default=wanted)}"
        return [f"{stem}.jsonl"]

    def process(self) -> None:
        path = Path(self.processed_paths[0])
        if self.source == "official":
            from pyg_ghn.datasets import official

            official.fetch(self.raw_dir, self.split, progress=self.log)
            official.convert_official(self.raw_dir, self.split, path, progress=self.log)
        else:
            from pyg_ghn.datasets.generate import generate

            path.unlink(missing_ok=True)
            generate(path, self.split, self.num_networks, progress=self.log)

    # PyG's own has no lock, and warns of another `pre_filter`.
    def _process(self) -> None:
        def is_processed() -> bool:
            return not self.force_reload and all(map(os.path.exists, self.processed_paths))

        if not is_processed():
            with naming(Path(self.root)), one_process(self.processed_paths[0]):
                if not is_processed():  # another process may have been faster
                    self.process()

    @cached_property
    def _table(self) -> NetworkTable:
        table = NetworkTable(self.processed_paths[0])
        if (found := table.info.get("split")) != self.split:
            raise DatasetError(f"{table.path} has networks of the split {found!r}.")
        return table

    @cached_property
    def _predefined(self) -> NamedNetworks:
        counted = (3, 32, 32), (3, 224, 224)
        return NamedNetworks(_PREDEFINED, None, self.num_classes, self.input_size, counted)

    def _row(self, number: int, input_size: InputSize) -> dict[str, Any]:
        net_args = _DEFAULTS | self._table[number]
        net_args["C"] = SPLITS[self.split].widened(net_args["C"], input_size)
        return net_args

    def _number(self, i: int) -> int:
        try:
            return int(self._numbers[self.indices()[i]])
        except (IndexError, TypeError) as error:
            raise DatasetError(
                f"No network {i!r:.80} in {self}: give a number less than {len(self)}."
            ) from error

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self)}, split={self.split}, source={self.source})"


# Files lack some arguments, but all items have the same ones.
_DEFAULTS = {"C": 32} | {
    field.name: field.default
    for field in fields(NetworkPlan)
    if field.default is not MISSING and field.name not in ("num_classes", "input_size")
}

_MSA, _POOL = [["msa", 1], ["none", 0]], [["max_pool_3x3", 1], ["none", 0]]
# Twelve cells, ten of them with attention: these graphs have the published statistics. The width is
# that of the authors' code.
_VIT = {
    "genotype": {"normal": _MSA, "normal_concat": [2], "reduce": _POOL, "reduce_concat": [2]},
    "n_cells": 12,
    "C": 128,
    "preproc": False,
}


def _build_vit(num_classes: int, input_size: InputSize) -> Network:
    return Network(**_VIT, num_classes=num_classes, input_size=input_size)


_PREDEFINED = {"resnet50": partial(torchvision_model, "resnet50"), "ViT": _build_vit}
