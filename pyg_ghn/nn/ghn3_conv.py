r"""The graph transformer layer of GHN-3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.batching import graph_sizes


class GHN3Conv(nn.Module):
    r"""The graph transformer layer from the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper (Section 4.1), a pre-norm transformer layer whose
    attention logits carry a bias for each pair of nodes:

    .. math::
        \mathbf{X}^{\prime} &= \mathbf{X} + \mathbf{W}_o \, \textrm{softmax} \left(
        \frac{\mathbf{Q} \mathbf{K}^{\top}}{\sqrt{d / k}} + \mathbf{B} \right) \mathbf{V}

        \mathbf{X}^{\prime\prime} &= \mathbf{X}^{\prime} + \textrm{MLP} (\textrm{LN}(
        \mathbf{X}^{\prime}))

    with :math:`\mathbf{Q}, \mathbf{K}, \mathbf{V}` linear in :math:`\textrm{LN}(\mathbf{X})`.
    Nodes attend to all nodes of their own graph. Node features go in and out in sparse form;
    nothing is padded.

    Edges enter through the bias alone: without one the layer sees each graph as a set. It is at
    home in any PyG model, on top of message passing or instead of it:

    .. code-block:: python

        data = AddShortestPathEncoding(cutoff=20)(data)  # once, before batching
        ...
        attn_bias = self.path_bias(data.spd, data.batch)  # once for all layers
        for local, attend in zip(self.local, self.attend):
            x = x + local(x, data.edge_index).relu()  # e.g. GINConv
            x = attend(x, data.batch, attn_bias)

    Args:
        channels (int): Size of each node's features.
        heads (int, optional): Number of attention heads; divides :obj:`channels`.
            (default: :obj:`1`)

    Shapes:
        - **input:** node features :math:`(\sum_g N_g, \text{channels})`, batch vector
          :math:`(\sum_g N_g)` *(optional)*, attention bias *(optional)*: one tensor
          :math:`(1, \text{heads}, N_g, N_g)` for each graph, such as
          :class:`~pyg_ghn.nn.ShortestPathBias` makes, or :math:`(1, 1, N_g, N_g)` for all heads
          alike. It alone tells where graphs begin; the batch vector is read without it only.
        - **output:** node features :math:`(\sum_g N_g, \text{channels})`

    Raises:
        ConfigError: If :obj:`heads` does not divide :obj:`channels`, or the bias or batch vector
            does not fit the nodes.
        GraphError: If the batch vector is not sorted.
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ConfigError(f"`heads` must divide `channels`, got {heads} and {channels}.")
        self.channels = channels
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in (self.norm1, self.qkv, self.out, self.norm2, self.mlp[0], self.mlp[2]):
            module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        batch: Tensor | None = None,
        attn_bias: Sequence[Tensor] | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module."""
        x = x + self.out(self._attend(self.norm1(x), batch, attn_bias))
        return x + self.mlp(self.norm2(x))

    def _attend(
        self, x: Tensor, batch: Tensor | None, attn_bias: Sequence[Tensor] | None
    ) -> Tensor:
        if attn_bias is not None:
            source = "attention bias"
            sizes = [self._graph_size(bias) for bias in attn_bias]  # asks the host only
        else:
            source = "batch vector"
            sizes = [x.size(0)] if batch is None else graph_sizes(batch)
            attn_bias = [None] * len(sizes)
        if sum(sizes) != x.size(0):
            raise ConfigError(
                f"The {source} is for graphs of {sizes} nodes, but `x` has {x.size(0)} nodes."
            )
        if x.size(0) == 0:
            return x
        qkv = self.qkv(x).view(x.size(0), 3, self.heads, -1).permute(1, 2, 0, 3)
        outs = [
            F.scaled_dot_product_attention(*part.unsqueeze(1), attn_mask=bias)
            for part, bias in zip(qkv.split(sizes, dim=2), attn_bias, strict=True)
            if part.size(2)
        ]
        return torch.cat(outs, dim=2).squeeze(0).transpose(0, 1).flatten(1)

    def _graph_size(self, bias: Tensor) -> int:
        n = bias.size(-1)
        if bias.shape not in ((1, self.heads, n, n), (1, 1, n, n)):
            raise ConfigError(
                f"The attention bias of a graph must have the shape (1, {self.heads}, N, N), got "
                f"{tuple(bias.shape)}."
            )
        return n

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, heads={self.heads})"
