r"""Another width of a network at each access."""

import json

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.architectures import draw_width, network_graph
from pyg_ghn.architectures.plan import SMALL_IMAGE
from pyg_ghn.errors import ConfigError

_OWN = ("net_args", "genotype", "num_params", "net_id")


@functional_transform("random_width")
class RandomWidth(BaseTransform):
    r"""Draws the width of a network of DeepNets-1M anew, as while a GHN is trained, from
    `"Parameter Prediction for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_:
    :obj:`C`, :obj:`fc_dim` and :obj:`imagenet_stride` of :func:`~pyg_ghn.architectures.draw_width`
    (functional name: :obj:`random_width`). The item becomes the graph of the network of that width.
    It comes before the encodings.

    Random numbers are those of torch: :func:`torch.manual_seed` makes them repeatable, and workers
    of a data loader draw other widths than each other, and than in the epoch before.

    Args:
        num_classes (int, optional): Number of classes of the images. (default: :obj:`10`)
        input_size (tuple, optional): Size of an image. Networks for more than 64 pixels are wider.
            (default: :obj:`(3, 32, 32)`)

    Raises:
        ConfigError: If an item has no arguments of a network.
    """

    def __init__(
        self, num_classes: int = 10, input_size: tuple[int, int, int] = (3, 32, 32)
    ) -> None:
        self.num_classes = num_classes
        self.input_size = tuple(input_size)

    def forward(self, data: Data) -> Data:
        net_args = json.loads(data.net_args) if "net_args" in data else {}
        if "genotype" not in net_args:
            raise ConfigError(
                "RandomWidth needs items of a split of `DeepNets1M` that have a genotype in their "
                "`net_args`."
            )
        rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        net_args |= draw_width(net_args, rng, wide=max(self.input_size[1:]) > SMALL_IMAGE)
        out = network_graph(net_args, self.num_classes, self.input_size)
        for name in _OWN:
            if name in data:
                out[name] = data[name]
        out.net_args = json.dumps(net_args)
        return out

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.num_classes}, {self.input_size})"
