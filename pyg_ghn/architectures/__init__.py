r"""The networks of DeepNets-1M and their generator; torchvision models for small images."""

from pyg_ghn.architectures.genotype import Genotype
from pyg_ghn.architectures.network import Network, network_from_args
from pyg_ghn.architectures.network_graph import network_graph
from pyg_ghn.architectures.operations import OPERATIONS
from pyg_ghn.architectures.plan import count_parameters
from pyg_ghn.architectures.sampler import (
    SPLITS,
    Split,
    draw_width,
    sample_net_args,
)
from pyg_ghn.architectures.small_images import (
    adapt_to_small_images,
    torchvision_model,
    torchvision_small,
)
from pyg_ghn.architectures.split_networks import (
    architecture_key,
    evaluation_architectures,
    split_net_args,
)

__all__ = [
    "OPERATIONS",
    "SPLITS",
    "Genotype",
    "Network",
    "Split",
    "adapt_to_small_images",
    "architecture_key",
    "count_parameters",
    "draw_width",
    "evaluation_architectures",
    "network_from_args",
    "network_graph",
    "sample_net_args",
    "split_net_args",
    "torchvision_model",
    "torchvision_small",
]
