r"""What all data sets of networks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Batch, Data, Dataset

from pyg_ghn.datasets.columns import Columns
from pyg_ghn.datasets.shapes import is_large
from pyg_ghn.errors import DatasetError

InputSize = tuple[int, int, int]


class NetworkSource(Protocol):
    r"""Where a data set takes its networks from."""

    node_counts: np.ndarray

    def __len__(self) -> int: ...

    def read(self, numbers: Sequence[int], epoch: int) -> Columns:
        r"""The graphs of some networks, as they are in an epoch."""

    def network(
        self,
        number: int,
        epoch: int,
        num_classes: int,
        input_size: InputSize,
        device: torch.device | str | None,
    ) -> nn.Module:
        r"""Builds a network, as it is in an epoch."""


class NetworkDataset(Dataset):
    r"""Base class of data sets of networks.

    Args:
        root (str, optional): Folder of the data set.
        transform (callable, optional): Applied to an item at every access.
        pre_filter (callable, optional): Which items are to be in the data set.
        num_classes (int, optional): Number of classes of the images. (default: 10 for small images,
            1000 for large ones)
        input_size (tuple): Size of an image.
        log (bool): Whether to show progress bars.
        force_reload (bool): Whether to make the files anew.
    """

    _source: NetworkSource
    _numbers: Sequence[int]
    r"""The networks of :obj:`_source` that are in the data set."""

    def __init__(
        self,
        root: str | None,
        transform: Callable[[Data], Data] | None,
        pre_filter: Callable[[Data], bool] | None,
        num_classes: int | None,
        input_size: InputSize,
        log: bool,
        force_reload: bool,
    ):
        size = tuple(input_size)
        if len(size) != 3 or min(size) < 1:
            raise DatasetError(f"input_size must be (channels, height, width), got {size}.")
        if num_classes is None:
            num_classes = 1000 if is_large(size) else 10
        if num_classes < 1:
            raise DatasetError(f"num_classes must be 1 or more, got {num_classes}.")
        self.input_size = size
        self._num_classes = num_classes
        # Shared memory: workers that live on see the new epoch, too.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        super().__init__(root, transform, pre_filter=pre_filter, log=log, force_reload=force_reload)

    @property
    def num_classes(self) -> int:
        r"""The number of classes of the images."""
        return self._num_classes

    @property
    def epoch(self) -> int:
        r"""The epoch, see :meth:`set_epoch`."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        r"""Lets networks of no fixed width have another one, the same in each epoch of that number.
        Also reaches the workers of a data loader, and subsets of the data set."""
        self._epoch.fill_(epoch)

    @property
    def node_counts(self) -> np.ndarray:
        r"""The number of nodes of each item, known without reading it."""
        numbers = np.asarray(self._numbers)[np.asarray(self.indices())]
        return self._source.node_counts[numbers].astype(np.int64)

    def network(
        self,
        i: int,
        num_classes: int | None = None,
        input_size: InputSize | None = None,
        device: torch.device | str | None = "meta",
    ) -> nn.Module:
        r"""Builds the network of item :obj:`i`, with the width that it has in this epoch.

        Args:
            i (int): The item.
            num_classes (int, optional): Number of classes. (default: that of the data set)
            input_size (tuple, optional): Size of an image. (default: that of the data set)
            device (optional): Where the parameters live, see
                :class:`~pyg_ghn.architectures.Network`. (default: :obj:`"meta"`)
        """
        classes = self.num_classes if num_classes is None else num_classes
        size = self.input_size if input_size is None else tuple(input_size)
        (number,) = self._positions([i])
        return self._source.network(number, self.epoch, classes, size, device)

    def len(self) -> int:
        return len(self._numbers)

    def get(self, idx: int) -> Data:
        return self._source.read([int(self._numbers[idx])], self.epoch).items()[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Data]:
        # What data loaders call for all items of a batch: faster than one by one
        return self._source.read(self._positions(indices), self.epoch).items(self.transform)

    def batch(self, indices: Sequence[int]) -> Batch:
        r"""The items of some indices as a batch, for which it does not make the items. They are
        joined as :meth:`~torch_geometric.data.Batch.from_data_list` does it, but :obj:`net_args`
        and other dictionaries become lists of dictionaries."""
        return self._source.read(self._positions(indices), self.epoch).batch(self.transform)

    def _positions(self, indices: Sequence[int]) -> list[int]:
        items = self.indices()
        return [int(self._numbers[items[i]]) for i in indices]
