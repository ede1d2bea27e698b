r"""Meta-batches of networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from torch_geometric.data import Batch

from pyg_ghn.datasets.dataset import NetworkDataset
from pyg_ghn.datasets.parcel import Parcel
from pyg_ghn.errors import ConfigError


class NetworkBatchSampler(Sampler[list[int]]):
    r"""Splits an epoch into meta-batches, for :obj:`batch_sampler` of a data loader.

    The order is a function of :obj:`seed` and the epoch. Ranks of a distributed run take turns at
    its meta-batches, so that no network is in two of them.

    Args:
        dataset (NetworkDataset): The data set. :meth:`set_epoch` is passed on to it.
        batch_size (int): The most networks in a meta-batch.
        max_nodes (int, optional): The most nodes in a meta-batch; a larger network is one by
            itself. Nothing is read to know them. (default: :obj:`None`)
        shuffle (bool, optional): Whether each epoch has an order of its own.
            (default: :obj:`False`)
        drop_last (bool, optional): Whether to leave out what remains at the end of an epoch, so
            that all ranks have equally many meta-batches. (default: :obj:`False`)
        seed (int, optional): Seed of the order. (default: :obj:`0`)
        rank (int, optional): This rank. (default: :obj:`0`)
        world_size (int, optional): Number of ranks. (default: :obj:`1`)

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        dataset: NetworkDataset,
        batch_size: int,
        max_nodes: int | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size < 1 or (max_nodes is not None and max_nodes < 1):
            raise ConfigError(
                "A meta-batch has one network and node or more, got "
                f"batch_size={batch_size}, max_nodes={max_nodes}."
            )
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank must be 0 or more and below world_size={world_size}: {rank}.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.max_nodes = max_nodes
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        r"""Chooses the epoch.

        Args:
            epoch (int): Its number, from 0.
            start (int, optional): So many of this rank's meta-batches are left out at the beginning
                of the epoch: those that an interrupted run has already had. (default: :obj:`0`)
        """
        self.epoch, self.start = epoch, start
        self.dataset.set_epoch(epoch)
        self.__dict__.pop("_epoch", None)

    def __iter__(self) -> Iterator[list[int]]:
        order, bounds = self._epoch
        for i in self._own[self.start :]:
            yield order[bounds[i] : bounds[i + 1]].tolist()

    def __len__(self) -> int:
        return len(self._own[self.start :])

    @property
    def _own(self) -> range:
        """The meta-batches of this rank."""
        count = len(self._epoch[1]) - 1
        if self.drop_last:
            count -= count % self.world_size
        return range(self.rank, count, self.world_size)

    @cached_property
    def _epoch(self) -> tuple[np.ndarray, list[int]]:
        """The order of an epoch, and where its meta-batches begin and end."""
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        if self.max_nodes is None:
            bounds = list(range(0, order.size, self.batch_size))
        else:
            bounds = self._bounds(self._node_counts[order].tolist())
        if self.drop_last and bounds and order.size - bounds[-1] < self.batch_size:
            return order, bounds
        return order, [*bounds, order.size]

    @cached_property
    def _node_counts(self) -> np.ndarray:
        return self.dataset.node_counts

    def _bounds(self, node_counts: list[int]) -> list[int]:
        bounds, nodes = [], self.max_nodes
        for i, count in enumerate(node_counts):
            nodes += count
            if nodes > self.max_nodes or i - bounds[-1] == self.batch_size:
                bounds.append(i)
                nodes = count
        return bounds


class NetworkLoader(DataLoader):
    r"""Loads a data set of networks in meta-batches, see :class:`NetworkBatchSampler` and
    :meth:`~pyg_ghn.datasets.dataset.NetworkDataset.batch`: as a
    :class:`~torch_geometric.loader.DataLoader`, but faster, and :obj:`net_args` and other
    dictionaries of the items become lists of dictionaries.

    .. code-block:: python

        dataset = DeepNets1M(root, "train", transform=ghn.transform)
        loader = NetworkLoader(dataset, batch_size=8, max_nodes=3000, shuffle=True, num_workers=2)
        for epoch in range(first_epoch, num_epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                ...

    Args:
        dataset (NetworkDataset): The data set.
        batch_size (int, optional): See :class:`NetworkBatchSampler`. (default: :obj:`8`)
        max_nodes (int, optional): See :class:`NetworkBatchSampler`. (default: :obj:`None`)
        shuffle (bool, optional): See :class:`NetworkBatchSampler`. (default: :obj:`False`)
        drop_last (bool, optional): See :class:`NetworkBatchSampler`. (default: :obj:`False`)
        seed (int, optional): See :class:`NetworkBatchSampler`. (default: :obj:`0`)
        rank (int, optional): See :class:`NetworkBatchSampler`. (default: :obj:`0`)
        world_size (int, optional): See :class:`NetworkBatchSampler`. (default: :obj:`1`)
        **kwargs (optional): Further arguments of :class:`torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: NetworkDataset,
        batch_size: int = 8,
        max_nodes: int | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        **kwargs: Any,
    ):
        sampler = NetworkBatchSampler(
            dataset, batch_size, max_nodes, shuffle, drop_last, seed, rank, world_size
        )
        super().__init__(_Batches(dataset), batch_sampler=sampler, collate_fn=_ship, **kwargs)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        r"""See :meth:`NetworkBatchSampler.set_epoch`."""
        self.batch_sampler.set_epoch(epoch, start)


class _Batches(Dataset):
    """What a data loader takes for a data set: it gets the batch of some items in one piece."""

    def __init__(self, dataset: NetworkDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.dataset.batch(indices)


def _ship(batch: Batch) -> Batch | Parcel:
    return batch if get_worker_info() is None else Parcel(batch)
