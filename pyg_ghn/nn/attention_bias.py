r"""The bias of attention over the graphs of a batch, in blocks of graphs of similar size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.nn.batching import pairs_of, send

# Measured on a CPU: the padding, in pairs of nodes, that takes as long as one more block; and the
# pairs of a block beyond which it only takes more memory.
_BLOCK_COST, _LARGEST_BLOCK = 1 << 12, 1 << 17


class Block(NamedTuple):
    """Graphs, by their numbers in the batch, that attention runs over at once, padded to a size."""

    graphs: list[int]
    size: int


class Layout:
    """How the graphs of a batch are divided into blocks. Graphs of similar size share one and are
    padded to the largest of them, where that takes less time than another block would."""

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        self.sizes = list(sizes)
        self.device = device
        self.blocks: list[Block] = []
        counts, room, largest = Counter(self.sizes), 0, 0
        for graph in sorted(range(len(self.sizes)), key=self.sizes.__getitem__, reverse=True):
            if not self.sizes[graph]:
                break
            size = self.sizes[graph]
            if not room or (largest**2 - size**2) * counts[size] > _BLOCK_COST:
                room = max(1, _LARGEST_BLOCK // size**2) if device.type == "cpu" else len(sizes)
                largest = size
                self.blocks.append(Block([], size))
            self.blocks[-1].graphs.append(graph)
            room -= 1
        # The node in each slot of a block. Padding takes the last node of its graph: nothing gets
        # into another graph, and unlike `index_copy` into zeros, this keeps no copy for backward.
        order = np.array([graph for block in self.blocks for graph in block.graphs], int)
        widths = np.array([block.size for block in self.blocks for _ in block.graphs], int)
        ends = np.cumsum(self.sizes, dtype=int)
        firsts = ends[order] - np.array(self.sizes, int)[order]
        nodes = np.repeat(firsts - widths.cumsum() + widths, widths) + np.arange(widths.sum())
        last = np.repeat(ends[order] - 1, widths)
        own = np.flatnonzero(nodes <= last)
        self._nodes = self._slots = None
        if own.size < nodes.size or (np.diff(nodes) != 1).any():
            self._nodes = send(torch.from_numpy(np.minimum(nodes, last)), device)
            self._slots = send(torch.from_numpy(own[nodes[own].argsort()]), device)

    @property
    def batch(self) -> Tensor:
        r"""The graph of each node."""
        sizes = torch.tensor(self.sizes, dtype=torch.long)
        return send(torch.arange(len(sizes)).repeat_interleave(sizes), self.device)

    def split(self, x: Tensor) -> Iterator[Tensor]:
        r"""The nodes :math:`(\sum_g N_g, F)` as :math:`(B, N, F)` by block, padded by nodes of the
        same."""
        if self._nodes is not None:
            x = x.index_select(0, self._nodes)
        rows = x.split([len(block.graphs) * block.size for block in self.blocks])
        for block, own in zip(self.blocks, rows, strict=True):
            yield own.view(len(block.graphs), block.size, -1)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        r"""The nodes :math:`(\sum_g N_g, F)` of what :meth:`split` makes."""
        x = torch.cat([part.flatten(0, 1) for part in parts])
        return x if self._slots is None else x.index_select(0, self._slots)

    def padding(self, block: Block) -> Tensor | None:
        r"""Which nodes of a block are padding, :math:`(B, N)`, or :obj:`None` where none is."""
        sizes = [self.sizes[graph] for graph in block.graphs]
        if min(sizes) == block.size:
            return None
        sizes = send(torch.tensor(sizes), self.device)
        return torch.arange(block.size, device=self.device) >= sizes[:, None]

    def pairs(self, block: Block, values: Tensor) -> Tensor:
        r"""The flat matrices :math:`(\sum_g N_g^2, *)` of all graphs as :math:`(B, N, N, *)` for a
        block; what is padding has any values of them."""
        squares = [0, *accumulate(size * size for size in self.sizes)]
        first, last = block.graphs[0], block.graphs[-1]
        in_a_row = block.graphs == [*range(first, last + 1)]
        if in_a_row and all(self.sizes[graph] == block.size for graph in block.graphs):
            own = values[squares[first] : squares[last + 1]]
            return own.view(-1, block.size, block.size, *values.shape[1:])
        of_graphs = [(squares[graph], self.sizes[graph]) for graph in block.graphs]
        starts, sizes = send(torch.tensor(of_graphs), self.device).t()[..., None]
        nodes = torch.arange(block.size, device=self.device)
        places = (starts + nodes * sizes)[..., None] + nodes
        return values[places.clamp_(max=len(values) - 1)]


class AttentionBias(Sequence[Tensor]):
    r"""The attention bias of a batch, made once for all layers: a sequence with a tensor
    :math:`(1, \text{heads}, N_g, N_g)` for each graph. Biases of the same graphs can be added.

    Args:
        layout (Layout): How the graphs are divided into blocks.
        values (list of Tensor): The bias of each block, :math:`(\text{heads}, B, N, N)`.
    """

    def __init__(self, layout: Layout, values: Sequence[Tensor]) -> None:
        self.layout = layout
        self.values = list(values)

    @classmethod
    def of_graphs(cls, biases: Sequence[Tensor], heads: int) -> AttentionBias:
        r"""The bias of a batch, of those of its graphs.

        Args:
            biases (list of Tensor): For each graph the bias :math:`(1, \text{heads}, N_g, N_g)`,
                or :math:`(1, 1, N_g, N_g)` for all heads alike; or a boolean mask, :obj:`True` for
                pairs that attend. Those of graphs of one size may be one tensor.
            heads (int): Number of attention heads.

        Raises:
            ConfigError: If a bias has another shape.
        """
        if isinstance(biases, Tensor):
            biases = biases.split(1)
        for bias in biases:
            n = bias.size(-1)
            if bias.shape not in ((1, heads, n, n), (1, 1, n, n)):
                raise ConfigError(
                    f"The attention bias of a graph must have the shape (1, {heads}, N, N), got "
                    f"{tuple(bias.shape)}."
                )
        device = biases[0].device if len(biases) else torch.device("cpu")
        layout = Layout([bias.size(-1) for bias in biases], device)
        values = []
        for block in layout.blocks:
            padded = []
            for graph in block.graphs:
                bias = biases[graph][0].expand(heads, -1, -1)
                if bias.dtype == torch.bool:
                    bias = torch.zeros_like(bias, dtype=torch.float).masked_fill(~bias, -torch.inf)
                missing = block.size - bias.size(-1)
                bias = F.pad(bias, (0, missing), value=-torch.inf)
                padded.append(F.pad(bias, (0, 0, 0, missing)))  # queries of which nobody reads
            values.append(torch.stack(padded, dim=1))
        return cls(layout, values)

    @classmethod
    def zero(cls, sizes: Sequence[int], heads: int, like: Tensor) -> AttentionBias:
        r"""No bias for graphs of these sizes, in the type of a tensor and on its device: minus
        infinity for what is padding, alike for all queries."""
        layout, values = Layout(sizes, like.device), []
        for block in layout.blocks:
            bias = like.new_zeros(heads, len(block.graphs), 1, block.size)
            if (padding := layout.padding(block)) is not None:
                bias.masked_fill_(padding[:, None], -torch.inf)
            values.append(bias)
        return cls(layout, values)

    @property
    def sizes(self) -> list[int]:
        r"""The number of nodes of each graph."""
        return self.layout.sizes

    def __getitem__(self, graph: int) -> Tensor:
        graph = range(len(self))[graph]
        size = self.sizes[graph]
        for block, values in zip(self.layout.blocks, self.values, strict=True):
            if graph in block.graphs:
                return values[None, :, block.graphs.index(graph), :size, :size]
        heads = len(self.values[0]) if self.values else 1
        return torch.empty(1, heads, 0, 0, device=self.layout.device)

    def __len__(self) -> int:
        return len(self.sizes)

    def __add__(self, other: AttentionBias) -> AttentionBias:
        if not isinstance(other, AttentionBias) or other.sizes != self.sizes:
            raise ConfigError("Only attention biases of the same graphs can be added.")
        pairs = zip(self.values, other.values, strict=True)
        return AttentionBias(self.layout, [a + b for a, b in pairs])

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self)} graphs)"


class PairBias(nn.Module):
    r"""An attention bias that is linear in features of pairs of nodes, such as a resistance
    distance or a similarity:

    .. math::
        \mathbf{b}_{ij} = \mathbf{W} \mathbf{f}_{ij} + \mathbf{w} \in \mathbb{R}^{\text{heads}}

    Args:
        in_channels (int): Number of features of a pair.
        heads (int): Number of attention heads.
        attr_name (str, optional): Name of the attribute of a graph that holds the features.
            (default: :obj:`"pair_attr"`)

    Shapes:
        - **input:** a :class:`~torch_geometric.data.Data` or batch, or the flat features
          :math:`(\sum_g N_g^2, \text{in\_channels})` of all pairs, graph by graph and row by row,
          and the batch vector :math:`(\sum_g N_g)` *(optional)*
        - **output:** an :class:`AttentionBias`, which :class:`~pyg_ghn.nn.GHN3Conv` takes

    Raises:
        GraphError: If the features are missing or do not fit the batch.
    """

    def __init__(self, in_channels: int, heads: int, attr_name: str = "pair_attr") -> None:
        super().__init__()
        self.in_channels = in_channels
        self.heads = heads
        self.attr_name = attr_name
        self.lin = nn.Linear(in_channels, heads)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.lin.reset_parameters()

    @torch.compiler.disable
    def forward(self, values: Tensor | Data, batch: Tensor | None = None) -> AttentionBias:
        r"""Runs the forward pass of the module."""
        wanted = f"flat features ({self.in_channels} for each of its N * N pairs of nodes)"
        values, sizes = pairs_of(values, batch, self.attr_name, wanted)
        values = values.view(len(values), -1)
        if values.size(1) != self.in_channels:
            raise GraphError(
                f"`{self.attr_name}` has {values.size(1)} features for each pair, not "
                f"{self.in_channels}."
            )
        layout = Layout(sizes, values.device)
        values, biases = self.lin(values.to(self.lin.weight.dtype)), []
        for block in layout.blocks:
            bias = layout.pairs(block, values).permute(3, 0, 1, 2)
            if (padding := layout.padding(block)) is not None:
                bias = bias.masked_fill(padding[:, None], -torch.inf)
            biases.append(bias.contiguous())
        return AttentionBias(layout, biases)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, heads={self.heads})"


def to_dense_pairs(values: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Pads the flat matrices of all graphs to the largest of them, as
    :func:`~torch_geometric.utils.to_dense_batch` does with node features.

    Args:
        values (Tensor): One value or some features for each pair of nodes of each graph,
            :math:`(\sum_g N_g^2, *)`, such as :obj:`data.spd`.
        batch (Tensor, optional): The graph that each node belongs to, :math:`(\sum_g N_g)`.
            (default: :obj:`None`)

    Returns:
        The values :math:`(B, N, N, *)`, zero where padded, and the mask :math:`(B, N)` of nodes
        that are none of the padding.

    Raises:
        GraphError: If the values do not fit the batch, or it is not sorted.
    """
    values, sizes = pairs_of(values, batch)
    layout = Layout(sizes, values.device)
    block = Block([*range(len(sizes))], max(sizes))
    nodes = torch.arange(block.size, device=values.device)
    mask = nodes < send(torch.tensor(sizes), values.device)[:, None]
    both = mask[:, :, None] & mask[:, None]
    dense = layout.pairs(block, values)
    return dense * both.view(*both.shape, *(1,) * (values.dim() - 1)), mask
