r"""The stream of training networks: sampled afresh, kept for reuse, reproducible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch_geometric.data import Data

from pyg_ghn.architectures import (
    architecture_key,
    draw_width,
    evaluation_architectures,
    network_from_args,
    network_graph,
    sample_net_args,
)
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import ConfigError


class TrainingNetwork(NamedTuple):
    """A skeleton on the meta device, its graph with encodings, and what it was built from."""

    model: nn.Module
    data: Data
    net_args: dict[str, Any]


class NetworkStream:
    r"""Meta-batches of architectures, a function of the seed, the rank and the step alone.

    Network :math:`i` of a stream is drawn with the seed :math:`(seed, rank, i)`. A meta-batch holds
    :obj:`fresh` networks that were never used before, the others come from the :obj:`pool_size`
    latest ones, which stay built: building a network and its graph takes longer than a GHN's
    forward pass. A resumed run sees the same networks. Architectures of the evaluation splits are
    never among them.

    Args:
        transform (callable): Adds the encodings that the GHN needs.
        num_classes (int): Outputs of the networks.
        input_size (tuple): Size of one image.
        size (int): Networks in a meta-batch.
        split (str): Split of DeepNets-1M to draw from. (default: :obj:`"train"`)
        fresh (int): New networks in a meta-batch. (default: :obj:`1`)
        pool_size (int): Networks kept for reuse. (default: :obj:`256`)
        max_cells (int, optional): Only networks with up to so many cells. (default: :obj:`None`)
        channels (list, optional): Widths to draw from. (default: :obj:`None`)
        dataset (DeepNets1M, optional): Draws architectures, with their graphs, from this data set
            for the same images, instead of new ones. (default: :obj:`None`)
        seed (int): Seed. (default: :obj:`0`)
        rank (int): Rank of this process. (default: :obj:`0`)
    """

    def __init__(
        self,
        transform: Callable[[Data], Data],
        num_classes: int,
        input_size: tuple[int, int, int],
        size: int,
        split: str = "train",
        fresh: int = 1,
        pool_size: int = 256,
        max_cells: int | None = None,
        channels: list[int] | None = None,
        dataset: DeepNets1M | None = None,
        seed: int = 0,
        rank: int = 0,
    ):
        self.transform = transform
        self.num_classes = num_classes
        self.input_size = input_size
        self.size = size
        self.split = split
        self.fresh = fresh
        self.pool_size = pool_size
        self.max_cells = max_cells
        self.channels = channels
        self.dataset = dataset
        self.seed = (seed, rank)
        self._pool: dict[int, TrainingNetwork] = {}

    def meta_batch(self, step: int) -> list[TrainingNetwork]:
        """The networks of a step."""
        newest = self.pool_size + step * self.fresh  # networks seen before this step
        rng = np.random.default_rng((*self.seed, 1, step))
        reused = rng.integers(newest - self.pool_size, newest, self.size - self.fresh)
        indices = [*reused.tolist(), *range(newest, newest + self.fresh)]
        batch = [self._network(index) for index in indices]
        for index in [i for i in self._pool if i < newest + self.fresh - self.pool_size]:
            del self._pool[index]
        return batch

    def _network(self, index: int) -> TrainingNetwork:
        if index not in self._pool:
            self._pool[index] = self._build(np.random.default_rng((*self.seed, 0, index)))
        return self._pool[index]

    def _build(self, rng: np.random.Generator) -> TrainingNetwork:
        number, net_args = self._draw(rng)
        width = draw_width(net_args, rng)
        if self.channels is not None:
            width |= {"C": int(rng.choice(self.channels)), "fc_dim": 64}
        net_args |= width
        model = network_from_args(net_args, self.num_classes, self.input_size, device="meta")
        stored = number is not None
        data = (
            self.dataset.with_width(number, **width)
            if stored
            else network_graph(net_args, self.num_classes, self.input_size)
        )
        return TrainingNetwork(model, self.transform(data), net_args)

    def _draw(self, rng: np.random.Generator) -> tuple[int | None, dict[str, Any]]:
        """An architecture, and its number in the data set if there is one."""
        for _ in range(_MOST_DRAWS):
            number = None if self.dataset is None else int(rng.integers(len(self.dataset)))
            net_args = (
                sample_net_args(self.split, rng)
                if number is None
                else self.dataset[number].net_args
            )
            if not self._is_refused(net_args):
                return number, net_args
        raise ConfigError(
            f"Of {_MOST_DRAWS} networks of {self.dataset or self.split} none has at most "
            f"{self.max_cells} cells and is none of those that GHNs are evaluated on."
        )

    def _is_refused(self, net_args: dict[str, Any]) -> bool:
        too_deep = self.max_cells is not None and net_args["n_cells"] > self.max_cells
        return too_deep or architecture_key(net_args) in evaluation_architectures()


_MOST_DRAWS = 1000
