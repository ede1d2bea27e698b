r"""What predictions for unseen networks are like, and their accuracy on unseen images, during
training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from statistics import mode as most_common
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_ghn.architectures import network_from_args, network_graph, split_net_args
from pyg_ghn.errors import ArchitectureError
from pyg_ghn.evaluation.accuracy import accuracy
from pyg_ghn.evaluation.diversity import layer_statistics
from pyg_ghn.images import ImageData
from pyg_ghn.initialization import last_layer
from pyg_ghn.nn import GHN
from pyg_ghn.training.config import FinetuneConfig
from pyg_ghn.training.finetuning import finetune
from pyg_ghn.training.log import TUNED, VALIDATED
from pyg_ghn.training.stream import NetworkStream

NUM_NETWORKS = 4
NUM_IMAGES = 256


class Validation:
    r"""A few networks of the split val of DeepNets-1M, and images of the validation split: always
    the same ones. Forward passes of up to four networks with at most four times the images of a
    training step take about as long as one step or two; :obj:`val_steps` of training come on top.

    Args:
        stream (NetworkStream): The networks that are trained on: those of the validation are as
            wide and at most as deep, and processes share them, too.
        images (ImageData): The images.
        device (torch.device): Where to compute.
    """

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
            del sums[TUNED]
        if self.networks:
            predictions = ghn.eval()(Batch.from_data_list([data for _, data, _ in self.networks]))
            ghn.train(was_training)
            counted = [] if self.is_spare else zip(self.networks, predictions, strict=True)
            for (model, data, args), params in counted:
                top1 = accuracy(model, params, self.images, self.batch_size, device)["top1"]
                found = {"accuracy": top1, **layer_statistics(params, last_layer(data))}
                if self.tuning is not None:
                    found["tuned_accuracy"] = self._tuned(args, params)
                for name, value in found.items():
                    sums[f"val_{name}"] += value
                sums["val_networks"] += 1
                sums["val_paired"] += "cosine" in found
        return sums

    def _tuned(self, net_args: dict[str, Any], params: dict[str, Tensor]) -> float:
        r"""The accuracy of a network after training from its prediction."""
        device, data = self.images.images.device, self.tuned_on
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model = network_from_args(net_args, data.num_classes, data.input_size, device=device)
        model.load_state_dict(params, strict=False)
        with torch.enable_grad():
            return finetune(model, data, self.tuning).val
