r"""Lengths of the directed shortest paths between all nodes."""

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import ConfigError
from pyg_ghn.transforms.edges import (
    distances,
    distinct_edges,
    reverse_topological_order,
    successors,
)

# "No path" while lengths are added up: above every cutoff, and far enough from overflow that a
# path through all nodes of any graph whose N x N matrix fits in memory can be added to it.
_FAR = np.int16(1 << 14)


@functional_transform("add_shortest_path_encoding")
class AddShortestPathEncoding(BaseTransform):
    r"""Adds the directed shortest-path lengths between all pairs of nodes, from which the
    attention bias of GHN-3 is made, Section 4.1 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper (functional name:
    :obj:`add_shortest_path_encoding`).

    .. math::
        S_{ij} = \begin{cases} d(i, j) & \text{if } 0 < d(i, j) \le \text{cutoff} \\
        0 & \text{otherwise (no path, too far, or } i = j \text{)} \end{cases}

    Works on any directed graph; on acyclic ones it is fastest. The matrix is stored flat, as
    :obj:`int16` of :math:`N^2` entries with :math:`S_{ij}` at :math:`iN + j`, so that graphs of
    different size are collated by concatenation.

    Args:
        cutoff (int, optional): The longest path that counts. (default: :obj:`50`)
        attr_name (str, optional): Name of the attribute. (default: :obj:`"spd"`)

    Raises:
        ConfigError: If the cutoff is not positive or too large.
        GraphError: If the graph has no valid :obj:`edge_index`.
    """

    def __init__(self, cutoff: int = 50, attr_name: str = "spd") -> None:
        if not 0 < cutoff < _FAR:
            raise ConfigError(f"`cutoff` must be between 1 and {_FAR - 1}, got {cutoff}.")
        self.cutoff = cutoff
        self.attr_name = attr_name

    def forward(self, data: Data) -> Data:
        source, target, num_nodes = distinct_edges(data)
        ahead = successors(source, target, num_nodes)
        order = reverse_topological_order(source, target, num_nodes)
        if order is None or num_nodes >= _FAR:
            rows = [distances(ahead, node, self.cutoff) for node in range(num_nodes)]
            lengths = np.array(rows, np.int16)
        else:
            lengths = _by_dynamic_programme(ahead, order)
            lengths *= lengths <= self.cutoff
        data[self.attr_name] = torch.from_numpy(lengths).view(-1).to(data.edge_index.device)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(cutoff={self.cutoff})"


def _by_dynamic_programme(successors: list[list[int]], order) -> np.ndarray:
    """Dynamic programme over a DAG: a node's row is the minimum of its successors' rows, plus 1."""
    num_nodes = len(successors)
    lengths = np.full((num_nodes, num_nodes), _FAR)
    rows, one = list(lengths), np.int16(1)
    for node in order:
        row, ahead = rows[node], successors[node]
        if ahead:
            np.add(rows[ahead[0]], one, out=row)
            for successor in ahead[1:]:
                np.minimum(row, rows[successor] + one, out=row)
        row[node] = 0
    return lengths
