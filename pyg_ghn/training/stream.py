r"""The networks of a run: the stream of those that it trains on, sampled afresh, kept for reuse,
reproducible; and those of its validation."""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import mode as most_common
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from pyg_ghn.architectures import (
    architecture_key,
    build_for_images,
    draw_width,
    evaluation_architectures,
    network_from_args,
    network_graph,
    sample_net_args,
    split_net_args,
)
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import ArchitectureError, ConfigError
from pyg_ghn.evaluation import TORCHVISION_NETWORKS, accuracy, layer_statistics
from pyg_ghn.graph import from_module
from pyg_ghn.images import ImageData
from pyg_ghn.initialization import last_layer
from pyg_ghn.nn import GHN
from pyg_ghn.training.config import FinetuneConfig, TrainConfig
from pyg_ghn.training.finetuning import finetune
from pyg_ghn.training.log import TUNED, VALIDATED

MAX_DRAWS = 1000
NUM_NETWORKS = 4
NUM_IMAGES = 256


class TrainingNetwork(NamedTuple):
    r"""A network, often a skeleton on the meta device, its graph with encodings, and what it was
    built from."""

    model: nn.Module
    data: Data
    net_args: dict[str, Any]


@dataclass(eq=False)
class NetworkStream:
    r"""Meta-batches of architectures, a function of the seed and their number alone: a resumed run
    sees the same networks, and however many processes there are, together they do.

    Network :math:`i` is drawn with the seed :math:`(seed, i)`. A meta-batch of :math:`M` networks
    holds :obj:`fresh` ones that were never used before; the others come from the :obj:`pool_size`
    latest, which stay built: building a network and its graph takes longer than a GHN's forward
    pass. Network :math:`i` always has the place :math:`i \bmod M`, so that it is built by one
    process only. Architectures of the evaluation splits are never among them.

    Args:
        config (TrainConfig): Says which networks to draw and how many processes share them.
        transform (callable): Adds the encodings that the GHN needs.
        num_classes (int): Outputs of the networks.
        input_size (tuple): Size of one image.
        dataset (DeepNets1M, optional): Draws architectures from this data set instead of new ones.
            (default: :obj:`None`)
        rank (int): Rank of this process, of :obj:`config.processes`. (default: :obj:`0`)
        device (torch.device or str): Where networks of :obj:`config.models` live, the only ones
            that are no skeletons. (default: :obj:`"cpu"`)
    """

    config: TrainConfig
    transform: Callable[[Data], Data]
    num_classes: int
    input_size: tuple[int, int, int]
    dataset: DeepNets1M | None = None
    rank: int = 0
    device: torch.device | str = "cpu"
    _pool: dict[int, TrainingNetwork] = field(default_factory=dict, init=False, repr=False)
    _named: dict[str, TrainingNetwork] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.config.models or ():
            source, _, rest = name.rpartition(":")
            if source == "deepnets" or rest in TORCHVISION_NETWORKS:
                raise ConfigError(f"models has {name}, which GHNs are evaluated on: leave it out.")
            with torch.random.fork_rng(devices=[]):  # what is not predicted stays as it is drawn
                torch.default_generator.manual_seed(0)
                model = build_for_images(name, self.num_classes, self.input_size)
                data = self.transform(from_module(model, input_size=self.input_size))
                out = copy.deepcopy(model)(torch.zeros(2, *self.input_size))
            if not (isinstance(out, Tensor) and out.shape == (2, self.num_classes)):
                got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise ConfigError(
                    f"models has {name}, which returns {got} for two images instead of logits "
                    f"(2, {self.num_classes}): choose another, or write a factory that makes it so."
                )
            self._named[name] = TrainingNetwork(model.to(self.device), data, {"model": name})

    def meta_batch(self, number: int) -> list[TrainingNetwork]:
        r"""This process's networks of a meta-batch, see :meth:`place`."""
        size, fresh = self.config.meta_batch_size, self.config.fresh
        generations = max(1, self.config.pool_size // size)
        first = generations * size + number * fresh  # networks seen before this meta-batch
        rng = np.random.default_rng((self.config.seed, 1, number))
        age = rng.integers(1, generations + 1, size - fresh)
        reused = np.arange(first + fresh, first + size) - size * age
        indices = sorted([*range(first, first + fresh), *reused.tolist()], key=lambda i: i % size)
        batch = [self._network(index) for index in indices[self.rank :: self.config.processes]]
        for index in [i for i in self._pool if i < first + 2 * fresh - generations * size]:
            del self._pool[index]  # no later meta-batch goes back so far
        return batch

    def place(self, i: int) -> int:
        r"""The place in the whole meta-batch of this process's :obj:`i`-th network."""
        return self.rank + i * self.config.processes

    def _network(self, index: int) -> TrainingNetwork:
        if index in self._pool:
            return self._pool[index]
        rng = np.random.default_rng((self.config.seed, 0, index))
        if self.config.models and rng.random() < self.config.model_share:
            self._pool[index] = self._named[str(rng.choice(self.config.models))]
            return self._pool[index]
        net_args = self._draw(rng)
        width = draw_width(net_args, rng)
        if self.config.channels is not None:
            width |= {"C": int(rng.choice(self.config.channels)), "fc_dim": 64}
        net_args |= width
        model = network_from_args(net_args, self.num_classes, self.input_size, device="meta")
        data = self.transform(network_graph(net_args, self.num_classes, self.input_size))
        self._pool[index] = TrainingNetwork(model, data, net_args)
        return self._pool[index]

    def _draw(self, rng: np.random.Generator) -> dict[str, Any]:
        for _ in range(MAX_DRAWS):
            if self.dataset is None:
                net_args = sample_net_args(self.config.split, rng)
            else:
                net_args = self.dataset.net_args(int(rng.integers(len(self.dataset))))
            too_deep = net_args["n_cells"] > (self.config.max_cells or net_args["n_cells"])
            if not too_deep and architecture_key(net_args) not in evaluation_architectures():
                return net_args
        raise ConfigError(
            f"None of {MAX_DRAWS} networks drawn from {self.dataset or self.config.split} may be "
            f"trained on: they have more than {self.config.max_cells} cells, or GHNs are evaluated "
            "on them."
        )


class Validation:
    """A few networks of the split val of DeepNets-1M, as wide as those of the stream and at most as
    deep, which processes share, too, and images of the validation split: always the same ones.
    Forward passes of up to four networks with at most four times the images of a training step take
    about as long as one step or two; :obj:`val_steps` of training come on top."""

    def __init__(self, stream: NetworkStream, images: ImageData, device: torch.device):
        config = stream.config
        self.batch_size = config.batch_size
        size = images.num_classes, images.input_size
        width = {"C": most_common(config.channels or [32]), "fc_dim": 64}
        networks = []
        for net_args in split_net_args("val"):
            if len(networks) == min(NUM_NETWORKS, config.meta_batch_size):
                break
            if net_args["n_cells"] <= (config.max_cells or net_args["n_cells"]):
                args = net_args | width
                with suppress(ArchitectureError):  # of images too small or odd for this one
                    model = network_from_args(args, *size, device="meta")
                    networks.append((model, stream.transform(network_graph(args, *size)), args))
        self.networks = networks[stream.rank :: config.processes]
        self.is_spare = config.shard and not self.networks  # all predict, or others wait for it
        self.networks = self.networks or networks[: self.is_spare]
        self.images = images.val.subset(min(NUM_IMAGES, 4 * config.batch_size)).to(device)
        self.tuned_on = replace(images, val=self.images, test=self.images.subset(2))
        self.tuning = None
        if config.val_steps:
            self.tuning = FinetuneConfig(config.val_steps, config.batch_size, lr=0.02)

    @torch.no_grad()
    def __call__(self, ghn: GHN) -> dict[str, Tensor]:
        r"""Sums over this process's networks of their accuracies and
        :func:`~pyg_ghn.evaluation.layer_statistics`, and the numbers of networks."""
        device, was_training = self.images.images.device, ghn.training
        sums = {name: torch.zeros((), device=device) for pair in VALIDATED.items() for name in pair}
        if self.tuning is None:
            del sums[TUNED], sums["val_tuned"]
        if self.networks:
            predictions = ghn.eval()(Batch.from_data_list([data for _, data, _ in self.networks]))
            ghn.train(was_training)
            counted = [] if self.is_spare else zip(self.networks, predictions, strict=True)
            for (model, data, args), params in counted:
                top1 = accuracy(model, params, self.images, self.batch_size, device)["top1"]
                found = {"accuracy": top1, **layer_statistics(params, last_layer(data))}
                if self.tuning is not None:
                    found["tuned_accuracy"] = self._tuned(args, params)
                    sums["val_tuned"] += 1
                for name, value in found.items():
                    sums[f"val_{name}"] += value
                sums["val_networks"] += 1
                sums["val_paired"] += "cosine" in found
        return sums

    def _tuned(self, net_args: dict[str, Any], params: dict[str, Tensor]) -> float:
        """The accuracy of a network after training from its prediction."""
        device, data = self.images.images.device, self.tuned_on
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = network_from_args(net_args, data.num_classes, data.input_size, device=device)
        model.load_state_dict(params, strict=False)
        # Autocast would go on with its copies of the weights as they were predicted.
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            return finetune(model, data, self.tuning).val
