r"""GHN3Conv as a layer of GraphGym. Importing this module registers it, as
``gnn.layer_type: ghn3conv``; the data needs :class:`~pyg_ghn.transforms.AddShortestPathEncoding`.
"""

from typing import Any

from torch import nn
from torch_geometric.data import Batch
from torch_geometric.graphgym.models.layer import LayerConfig
from torch_geometric.graphgym.register import register_layer

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.ghn3_conv import GHN3Conv
from pyg_ghn.nn.shortest_path_bias import ShortestPathBias


@register_layer("ghn3conv")
class GHN3ConvLayer(nn.Module):
    r"""A :class:`~pyg_ghn.nn.GHN3Conv`, with arguments of its own, and a bias that counts paths of
    up to :obj:`cutoff` edges. The widths in and out must be equal."""

    def __init__(
        self, layer_config: LayerConfig, heads: int = 4, cutoff: int = 20, **kwargs: Any
    ) -> None:
        super().__init__()
        channels = layer_config.dim_in
        if layer_config.dim_out != channels:
            raise ConfigError(
                f"ghn3conv keeps the width of its input, got dim_in={channels} and "
                f"dim_out={layer_config.dim_out}; set `gnn.dim_inner` to the width in front of it."
            )
        self.path_bias = ShortestPathBias(heads, channels, cutoff)
        self.model = GHN3Conv(channels, heads, **kwargs)

    def forward(self, batch: Batch) -> Batch:
        r"""Runs the forward pass of the module."""
        batch.x = self.model(batch.x, batch.batch, self.path_bias(batch))
        return batch
