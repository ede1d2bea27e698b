r"""Attention bias from shortest-path lengths."""

import torch.nn.functional as F
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.batching import matrix_sizes

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

    Shapes:
        - **input:** the flat lengths :obj:`data.spd` :math:`(\sum_g N_g^2)` of all graphs, batch
          vector :math:`(\sum_g N_g)` *(optional)*
        - **output:** a list with a tensor :math:`(1, \text{heads}, N_g, N_g)` for each graph, which
          :class:`~pyg_ghn.nn.GHN3Conv` takes as it is

    Raises:
        ConfigError: If the cutoff exceeds the table.
        GraphError: If the lengths do not fit the batch, or the batch vector is not sorted.
    """

    def __init__(self, heads: int, channels: int, cutoff: int = 50) -> None:
        super().__init__()
        if not 0 < cutoff < _ROWS - _OFFSET:
            raise ConfigError(
                f"`cutoff` must be between 1 and {_ROWS - _OFFSET - 1}, the last row of the "
                f"distance table, got {cutoff}."
            )
        self.heads = heads
        self.channels = channels
        self.cutoff = cutoff
        self.distance = nn.Embedding(_ROWS, channels)
        self.phi = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, heads)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        nn.init.trunc_normal_(self.distance.weight, std=self.channels**-0.5)
        self.phi[0].reset_parameters()
        self.phi[2].reset_parameters()

    def forward(self, spd: Tensor, batch: Tensor | None = None) -> list[Tensor]:
        r"""Runs the forward pass of the module."""
        sizes = matrix_sizes(spd, batch)
        table = self.table().t()
        # An index beyond the cutoff would silently fall into another pair's row.
        spd = spd.long().masked_fill(spd > self.cutoff, 0)
        biases = []
        for lengths, n in zip(spd.split([n * n for n in sizes]), sizes, strict=True):
            lengths = lengths.view(n, n)
            pairs = lengths * (self.cutoff + 1) + lengths.t()
            bias = table.gather(1, pairs.flatten().expand(self.heads, -1))
            biases.append(bias.view(1, self.heads, n, n))
        return biases

    def table(self) -> Tensor:
        r"""The bias of all pairs of lengths, :math:`((\text{cutoff} + 1)^2, \text{heads})`."""
        lengths = self.distance.weight[_OFFSET : _OFFSET + self.cutoff + 1]
        ahead, back = self.phi[0].weight.split(self.channels, dim=1)
        # The first layer acts on a concatenation: two products of c + 1 rows, not one of its square
        hidden = F.linear(lengths, ahead, self.phi[0].bias)[:, None] + F.linear(lengths, back)
        return self.phi[2](hidden.relu()).flatten(0, 1)

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.channels}, heads={self.heads}, cutoff={self.cutoff})"
        )
