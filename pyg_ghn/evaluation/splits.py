r"""The networks that a GHN is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from typing import NamedTuple

from torch import nn

from pyg_ghn.architectures import SPLITS, network_from_args, split_net_args, torchvision_model
from pyg_ghn.errors import ArchitectureError
from pyg_ghn.images import ImageData

TORCHVISION_NETWORKS = tuple(
    """
    resnet18 resnet50 resnext50_32x4d densenet121 googlenet squeezenet1_1 mobilenet_v2
    mobilenet_v3_small mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 regnet_x_400mf regnet_y_400mf
    convnext_tiny
    """.split()
)
r"""One or two networks of each family, of those that suit small images."""

TORCHVISION = "torchvision"

FAMILIES: dict[str, Callable[[Set[str]], bool]] = {
    "batch norm": lambda nodes: "bn" in nodes,
    "no norm": lambda nodes: nodes.isdisjoint({"bn", "ln"}),
    "attention": lambda nodes: "msa" in nodes,
    "squeeze-excitation": lambda nodes: "cse" in nodes,
}
r"""Kind of network to its test on the node types of a graph. A network can be of several kinds."""


class EvaluationNetwork(NamedTuple):
    r"""A network to be built, with its own random initialization."""

    split: str
    name: str
    build: Callable[[], nn.Module]


def evaluation_networks(
    split: str,
    images: ImageData,
    num_networks: int | None = None,
    channels: int | None = None,
    fc_dim: int | None = None,
) -> list[EvaluationNetwork]:
    r"""The first networks of a split, for given images.

    Args:
        split (str): A split of DeepNets-1M, or :obj:`"torchvision"` for
            :obj:`TORCHVISION_NETWORKS`.
        images (ImageData): The images, for their size and number of classes.
        num_networks (int, optional): How many. (default: all)
        channels (int, optional): The number of first channels of DeepNets-1M networks, which the
            wide split multiplies. (default: each network's own)
        fc_dim (int, optional): Size of the hidden layers of their classifiers.
            (default: each network's own)

    Raises:
        ArchitectureError: If the split is unknown, or :obj:`num_networks` is not positive.
    """
    size, classes = images.input_size, images.num_classes
    if num_networks is not None and num_networks < 1:
        raise ArchitectureError(f"num_networks must be 1 or more, got {num_networks}.")
    if split == TORCHVISION:
        return [
            EvaluationNetwork(split, name, partial(torchvision_model, name, classes, size))
            for name in TORCHVISION_NETWORKS[:num_networks]
        ]
    if split not in SPLITS:
        raise ArchitectureError(
            f"Unknown split {split!r}; choose from {', '.join(SPLITS)}, {TORCHVISION}."
        )
    networks = []
    for i, net_args in enumerate(split_net_args(split, num_networks)):
        width = SPLITS[split].widened(net_args["C"] if channels is None else channels, size)
        build = partial(network_from_args, net_args, classes, size, C=width, fc_dim=fc_dim)
        networks.append(EvaluationNetwork(split, str(i), build))
    return networks
