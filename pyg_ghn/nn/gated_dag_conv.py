r"""The message passing of GHN-2."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset
from torch_geometric.utils import coalesce, remove_self_loops, scatter

from pyg_ghn.errors import GraphError
from pyg_ghn.nn.batching import pairs_of, send


class GatedDAGConv(nn.Module):
    r"""Gated message passing along the edges of directed acyclic graphs and back, Section 4 of the
    `"Parameter Prediction for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_
    paper. Nodes are visited in topological order:

    .. math::
        \mathbf{m}_v &= \sum_{u \in \mathcal{N}_v} \textrm{MLP} (\mathbf{h}_u) +
        \sum_{u: \, S_{uv} > 0} \frac{1}{S_{uv}} \textrm{MLP}_{ve} (\mathbf{h}_u)

        \mathbf{h}_v &\leftarrow \textrm{GRU} (\mathbf{m}_v, \mathbf{h}_v)

    with :math:`\mathcal{N}_v` the predecessors of :math:`v` and :math:`S_{uv}` the length of the
    shortest path from :math:`u` to :math:`v`, the "virtual edges". A second pass visits the nodes
    in reverse order, along reversed edges. Both passes share all weights.

    A node needs nodes of lower level only (see :class:`~pyg_ghn.transforms.AddTopologicalLevel`),
    so the nodes of one level, over all graphs of the batch, are updated in one step. All steps are
    laid out before the first one, and none of them waits for the device. Where all inputs but the
    features are on the CPU, nothing waits. Duplicated edges count once, self loops not at all.

    Args:
        channels (int): Size of each node's features.
        virtual_edges (bool, optional): If set to :obj:`False`, there are messages along edges
            only, without the second sum. (default: :obj:`True`)

    Shapes:
        - **input:** node features :math:`(N, \text{channels})`, edge indices :math:`(2, E)`,
          levels :math:`(N)`; for virtual edges the flat path lengths :math:`(\sum_g N_g^2)` of
          :class:`~pyg_ghn.transforms.AddShortestPathEncoding`, and the batch vector :math:`(N)`
          *(optional)*
        - **output:** node features :math:`(N, \text{channels})`

    Raises:
        GraphError: If an edge does not lead to a higher level, or the path lengths are missing or
            do not fit the batch.
    """

    def __init__(self, channels: int, virtual_edges: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.virtual_edges = virtual_edges
        hidden = channels // 2 if virtual_edges else channels
        self.mlps = nn.ModuleList(  # one for edges and one for virtual edges
            nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.ReLU()
            )
            for _ in range(1 + virtual_edges)
        )
        self.gru = nn.GRUCell(channels, channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        reset(self.mlps)
        self.gru.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        level: Tensor,
        spd: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module."""
        if not len(x):
            return x
        source, target = coalesce(remove_self_loops(edge_index)[0], num_nodes=len(x))
        links = source, target, torch.zeros_like(source), torch.ones_like(source, dtype=x.dtype)
        if self.virtual_edges:
            both = zip(links, _virtual_edges(spd, batch, x), strict=True)
            links = [torch.cat(parts) for parts in both]
        source, target, kind, weight = links
        if (level[source] >= level[target]).any():
            raise GraphError(
                "An edge does not lead to a higher level: levels and path lengths must be made of "
                "the same edges, by `AddTopologicalLevel` and `AddShortestPathEncoding`."
            )
        level, order = level.sort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        source, target = place[source], place[target]
        states = x[send(order, x.device)].split(level.bincount().tolist())
        ahead = self._steps(source, target, kind, weight, level)
        back = self._steps(target, source, kind, weight, level)
        states = self._visit(states, ahead)
        states = self._visit(states[::-1], back[::-1])
        return torch.cat(states[::-1])[send(place, x.device)]

    def _steps(
        self, source: Tensor, target: Tensor, kind: Tensor, weight: Tensor, level: Tensor
    ) -> list[tuple[slice, Tensor, Tensor, Tensor]]:
        """What happens at each level, given edges of either kind with their weights and the
        ascending levels of all nodes: where the messages of its nodes go, one of each kind for a
        node; and the rows of those that they receive, which of them does, and with what weight."""
        sizes = level.bincount()
        target, order = target.sort()
        of = level[target]
        counts = of.bincount(minlength=len(sizes)).tolist()
        kinds = len(self.mlps)
        parts = (
            (source * kinds + kind)[order],
            target - (sizes.cumsum(0) - sizes)[of],
            weight[order, None],
        )
        parts = [send(part, self.gru.weight_ih.device).split(counts) for part in parts]
        ends = pairwise([0, *accumulate(kinds * size for size in sizes.tolist())])
        return [(slice(*rows), *part) for rows, *part in zip(ends, *parts, strict=True)]

    def _visit(self, states: Sequence[Tensor], steps: list[tuple]) -> list[Tensor]:
        """Updates the states of all nodes, which come level by level."""
        num_messages = len(self.mlps) * sum(len(state) for state in states)
        messages = states[0].new_zeros(num_messages, self.channels)
        visited = []
        for state, (rows, source, target, weight) in zip(states, steps, strict=True):
            received = messages.index_select(0, source) * weight
            state = self.gru(scatter(received, target, dim_size=len(state)), state)
            messages[rows] = torch.stack([mlp(state) for mlp in self.mlps], dim=1).flatten(0, 1)
            visited.append(state)
        return visited

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, virtual_edges={self.virtual_edges})"


def _virtual_edges(
    spd: Tensor | None, batch: Tensor | None, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All pairs of nodes with a path between them: sources, targets, kinds and weights."""
    if spd is None:
        raise GraphError("Virtual edges need the path lengths that `AddShortestPathEncoding` adds.")
    _, sizes = pairs_of(spd, batch)
    if sum(sizes) != len(x):
        raise GraphError(f"The path lengths are for graphs of {sizes} nodes, `x` has {len(x)}.")
    sizes = torch.tensor(sizes, device=spd.device)
    pairs = spd.nonzero().view(-1)
    ends = (sizes * sizes).cumsum(0)
    graph = torch.searchsorted(ends, pairs, right=True)
    size = sizes[graph]
    pair, first = pairs - ends[graph] + size * size, (sizes.cumsum(0) - sizes)[graph]
    source, target = first + pair // size, first + pair % size
    return source, target, torch.ones_like(source), 1 / spd[pairs].to(x.dtype)
