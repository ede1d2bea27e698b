r"""Attention bias from shortest-path lengths."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn.attention_bias import AttentionBias, Layout
from pyg_ghn.nn.batching import pairs_of

# Rows of the distance table in released checkpoints; a distance s takes row s + 2.
_ROWS, _OFFSET = 257, 2


class ShortestPathBias(nn.Module):
    r"""The edge term of the attention logits, Section 4.1 (Eq. 9) of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper:

    .. math::
        \mathbf{b}_{ij} = \phi \left( \left[ \mathbf{e}(S_{ij}) \, \Vert \, \mathbf{e}(S_{ji})
        \right] \right) \in \mathbb{R}^{\text{heads}}

    with :math:`\phi` an MLP of two layers. As :math:`S` holds integers up to the cutoff,
    :math:`\phi` is computed once for each pair of integers and looked up for each pair of nodes,
    which is exact, and made once for all layers and graphs of a batch.

    Works on any PyG batch with :class:`~pyg_ghn.transforms.AddShortestPathEncoding`.

    Args:
        heads (int): Number of attention heads.
        channels (int): Size of the distance embeddings.
        cutoff (int, optional): Longest path that counts; longer ones are taken as "no path".
            (default: :obj:`50`)
        attr_name (str, optional): Name of the attribute of a graph that holds the lengths.
            (default: :obj:`"spd"`)
        backward (bool, optional): If set to :obj:`False`, :math:`\mathbf{e}(S_{ji})` is left out.
            (default: :obj:`True`)

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch, or the flat lengths
          :obj:`data.spd` :math:`(\sum_g N_g^2)` of all graphs and the batch vector
          :math:`(\sum_g N_g)` *(optional)*; or padded lengths :math:`(B, N, N)` and the mask
          :math:`(B, N)` of real nodes, as :func:`~pyg_ghn.nn.to_dense_pairs` makes them
        - **output:** an :class:`~pyg_ghn.nn.AttentionBias`, which has a tensor
          :math:`(1, \text{heads}, N_g, N_g)` for each graph; or
          :math:`(B, \text{heads}, N, N)`, minus infinity for keys that are padding.
          :class:`~pyg_ghn.nn.GHN3Conv` takes either as it is

    Raises:
        ConfigError: If the cutoff exceeds the table.
        GraphError: If the lengths are missing or do not fit the graphs, or the batch vector is not
            sorted. Given a graph or batch on the CPU, it is also checked that the lengths are those
            of its edges.
    """

    def __init__(
        self,
        heads: int,
        channels: int,
        cutoff: int = 50,
        attr_name: str = "spd",
        backward: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < cutoff < _ROWS - _OFFSET:
            raise ConfigError(
                f"`cutoff` must be between 1 and {_ROWS - _OFFSET - 1}, the last row of the "
                f"distance table, got {cutoff}."
            )
        self.heads = heads
        self.channels = channels
        self.cutoff = cutoff
        self.attr_name = attr_name
        self.backward = backward
        self.distance = nn.Embedding(_ROWS, channels)
        self.phi = nn.Sequential(
            nn.Linear((1 + backward) * channels, channels), nn.ReLU(), nn.Linear(channels, heads)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        nn.init.trunc_normal_(self.distance.weight, std=self.channels**-0.5)
        self.phi[0].reset_parameters()
        self.phi[2].reset_parameters()

    def forward(
        self, spd: Tensor | Data, batch: Tensor | Sequence[int] | None = None
    ) -> AttentionBias | Tensor:
        r"""Runs the forward pass of the module."""
        if isinstance(spd, Tensor) and spd.dim() == 3:
            pairs = self._pairs(spd)
            if batch is not None:
                pairs = pairs.masked_fill(~batch[:, None], self._padding)
            return F.embedding(pairs, self._table().t()).permute(0, 3, 1, 2)
        # The lengths of one graph may come as a matrix.
        return self._by_blocks(spd.flatten() if isinstance(spd, Tensor) else spd, batch)

    @torch.compiler.disable
    def _by_blocks(self, spd: Tensor | Data, batch: Tensor | Sequence[int] | None) -> AttentionBias:
        data = spd
        spd, sizes = pairs_of(data, batch, self.attr_name)
        if isinstance(data, Data) and spd.device.type == "cpu" and "edge_index" in data:
            self._check_edges(spd, data.edge_index, torch.tensor(sizes))
        layout = Layout(sizes, spd.device)
        table, biases = self._table(), []
        for block in layout.blocks:
            pairs = self._pairs(layout.pairs(block, spd))
            if (padding := layout.padding(block)) is not None:
                pairs.masked_fill_(padding[:, None], self._padding)
            bias = table.gather(1, pairs.view(1, -1).expand(self.heads, -1))
            biases.append(bias.view(self.heads, *pairs.shape))
        return AttentionBias(layout, biases)

    def _check_edges(self, spd: Tensor, edge_index: Tensor, sizes: Tensor) -> None:
        """Whether the pairs at distance 1 are the edges, for then all distances are right."""
        source, target = edge_index[:, edge_index[0] != edge_index[1]].long()
        first, square = sizes.cumsum(0) - sizes, (sizes * sizes).cumsum(0) - sizes * sizes
        graph = torch.arange(len(sizes)).repeat_interleave(sizes)[source]
        place = square[graph] + (source - first[graph]) * sizes[graph] + target - first[graph]
        is_edge = torch.zeros(len(spd), dtype=torch.bool)
        is_edge[place] = True
        if not torch.equal(spd == 1, is_edge):
            raise GraphError(
                f"`{self.attr_name}` is from before the edges were changed; apply "
                "`AddShortestPathEncoding` again, behind all transforms that change them."
            )

    @property
    def _padding(self) -> int:
        """The place in the table of padding, behind those of pairs."""
        return (self.cutoff + 2) ** (1 + self.backward)

    def _pairs(self, lengths: Tensor) -> Tensor:
        """The place in the table of each pair of nodes, given lengths (..., N, N)."""
        rows = self.cutoff + 2
        dtype = torch.int16 if rows * rows < 1 << 15 else torch.int32
        # A length beyond the cutoff would silently be that of another pair.
        lengths = lengths.clamp(max=self.cutoff + 1).to(dtype)
        if not self.backward:
            return lengths.long()
        return torch.add(lengths.mT.contiguous(), lengths, alpha=rows).long()

    def _table(self) -> Tensor:
        """The bias of all pairs of lengths (heads, (cutoff + 2)^2), or (heads, cutoff + 2) without
        the way back, and one of padding. The length cutoff + 1 stands for all longer ones and is
        the same as no path."""
        lengths = self.distance.weight[_OFFSET : _OFFSET + self.cutoff + 1]
        lengths = torch.cat([lengths, lengths[:1]])
        # The first layer acts on a concatenation: two products of c + 2 rows, not one of its square
        ahead, *back = self.phi[0].weight.split(self.channels, dim=1)
        hidden = F.linear(lengths, ahead, self.phi[0].bias)
        if self.backward:
            hidden = hidden[:, None] + F.linear(lengths, *back)
        return F.pad(self.phi[2](hidden.relu()).flatten(0, -2).t(), (0, 1), value=-torch.inf)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, heads={self.heads}, cutoff={self.cutoff})"
        )
