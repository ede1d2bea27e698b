r"""The graph transformer layer of GHN-3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError


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

    Args:
        channels (int): Size of each node's features.
        heads (int, optional): Number of attention heads; divides :obj:`channels`.
            (default: :obj:`1`)

    Shapes:
        - **input:** node features :math:`(\sum_g N_g, \text{channels})`, batch vector
          :math:`(\sum_g N_g)` *(optional)*, attention bias *(optional)*: one tensor
          :math:`(1, \text{heads}, N_g, N_g)` for each graph, such as
          :class:`~pyg_ghn.nn.ShortestPathBias` makes
        - **output:** node features :math:`(\sum_g N_g, \text{channels})`

    Raises:
        ConfigError: If :obj:`heads` does not divide :obj:`channels`, or the bias does not fit the
            nodes.
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
            sizes = [bias.size(-1) for bias in attn_bias]  # asks the host only
        else:
            sizes = [x.size(0)] if batch is None else batch.bincount().tolist()
            attn_bias = [None] * len(sizes)
        if sum(sizes) != x.size(0):
            raise ConfigError(
                f"The attention bias is for graphs of {sizes} nodes, but `x` has {x.size(0)} nodes."
            )
        qkv = self.qkv(x).view(x.size(0), 3, self.heads, -1).permute(1, 2, 0, 3)
        outs = [
            F.scaled_dot_product_attention(*part.unsqueeze(1), attn_mask=bias)
            for part, bias in zip(qkv.split(sizes, dim=2), attn_bias, strict=True)
        ]
        return torch.cat(outs, dim=2).squeeze(0).transpose(0, 1).flatten(1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, heads={self.heads})"
