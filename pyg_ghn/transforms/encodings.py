r"""What GHN-3 knows of a node's place in its graph: degrees and shortest paths."""

from collections.abc import Sequence

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import ConfigError
from pyg_ghn.transforms.edges import distances, distinct_edges, levels, successors

# "No path" while lengths are added up: above every cutoff, and far enough from overflow that a
# path through all nodes of any graph whose N x N matrix fits in memory can be added to it.
_FAR = np.int16(1 << 14)
# Bits of so many edges times 64 nodes are moved at once: 32 MB.
_MOST_WORDS = 1 << 22


@functional_transform("add_degree_encoding")
class AddDegreeEncoding(BaseTransform):
    r"""Adds what the centrality encoding of GHN-3 reads, Section 3.3 (Eq. 7) of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper (functional name: :obj:`add_degree_encoding`): the
    number of distinct predecessors and successors of each node, and the length of the shortest
    path from node 0, which is 0 for node 0, for nodes that it does not reach and for those farther
    than the cutoff: row 0 of the lengths of :class:`AddShortestPathEncoding`.

    Works on any directed graph, with cycles or without. Duplicated edges count once, self loops
    not at all. Degrees are not clipped.

    Args:
        cutoff (int, optional): The longest distance that counts. (default: :obj:`50`)
        attr_names (sequence of str, optional): Names of the three attributes, long tensors of
            shape :math:`[N]`. (default: :obj:`("in_degree", "out_degree", "input_distance")`)

    Raises:
        ConfigError: If the cutoff is not positive, or there are not three names.
        GraphError: If the graph has no valid :obj:`edge_index`.
    """

    def __init__(
        self,
        cutoff: int = 50,
        attr_names: Sequence[str] = ("in_degree", "out_degree", "input_distance"),
    ) -> None:
        if cutoff < 1:
            raise ConfigError(f"`cutoff` must be at least 1, got {cutoff}.")
        self.cutoff = cutoff
        self.attr_names = tuple(attr_names)
        if len(self.attr_names) != 3:
            raise ConfigError(f"Expected the names of three attributes, got {self.attr_names}.")

    def forward(self, data: Data) -> Data:
        source, target, num_nodes = distinct_edges(data)
        ahead = successors(source, target, num_nodes)
        values = (
            np.bincount(target, minlength=num_nodes),
            np.bincount(source, minlength=num_nodes),
            distances(ahead, 0, self.cutoff) if ahead else np.empty(0, np.int64),
        )
        for name, value in zip(self.attr_names, values, strict=True):
            data[name] = torch.from_numpy(value).to(data.edge_index.device)
        return data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(cutoff={self.cutoff})"


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

    Works on any graph, directed or not, with cycles or without. The matrix is stored flat, as
    :obj:`int16` of :math:`N^2` entries with :math:`S_{ij}` at :math:`iN + j`, so that graphs of
    different size are collated by concatenation.

    As :obj:`pre_transform` of a data set it runs once, for :math:`2N^2` bytes a graph on disk.

    .. note::
        The lengths are those of the edges that the graph has now. Batches and data sets keep them
        with their graph. Whatever changes nodes or edges later, such as
        :meth:`~torch_geometric.data.Data.subgraph`, leaves them as they are: put this transform
        behind it. :class:`~pyg_ghn.nn.ShortestPathBias` refuses a graph with lengths that are not
        its own.

    Args:
        cutoff (int, optional): The longest path that counts. (default: :obj:`50`)
        attr_name (str, optional): Name of the attribute. (default: :obj:`"spd"`)

    Raises:
        ConfigError: If the cutoff is not positive or too large.
        GraphError: If the graph has no valid :obj:`edge_index`, or several types of nodes.
    """

    def __init__(self, cutoff: int = 50, attr_name: str = "spd") -> None:
        if not 0 < cutoff < _FAR:
            raise ConfigError(f"`cutoff` must be between 1 and {_FAR - 1}, got {cutoff}.")
        self.cutoff = cutoff
        self.attr_name = attr_name

    def forward(self, data: Data) -> Data:
        source, target, num_nodes = distinct_edges(data)
        if (source < target).all():  # nodes in topological order, as `from_module` gives them
            order = range(num_nodes - 1, -1, -1)
        elif (level := levels(source, target, num_nodes)) is not None:
            order = np.argsort(level)[::-1].tolist()
        else:
            order = None
        if order is None or num_nodes >= _FAR:
            lengths = _by_bits(source, target, num_nodes, self.cutoff)
        else:
            lengths = _by_dynamic_programme(successors(source, target, num_nodes), order)
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


def _by_bits(source: np.ndarray, target: np.ndarray, num_nodes: int, cutoff: int) -> np.ndarray:
    """Breadth-first searches from all nodes at once, given edges sorted by source. A row of bits
    tells which nodes a node has reached; in each step it takes those of its successors."""
    lengths = np.zeros((num_nodes, num_nodes), np.int16)
    counts = np.bincount(source, minlength=num_nodes)
    rows = counts.nonzero()[0]
    starts = (counts.cumsum() - counts)[rows]
    width = 64 * max(1, _MOST_WORDS // max(1, source.size, num_nodes))
    for first in range(0, num_nodes if source.size else 0, width):
        columns = slice(first, min(first + width, num_nodes))
        count = columns.stop - first
        bits = np.zeros((num_nodes, -(-count // 64) * 64), bool)
        bits[np.arange(first, columns.stop), np.arange(count)] = True
        reached = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
        # The number of steps that have not reached a node yet, in binary: an array for each digit
        digits: list[np.ndarray] = []
        for step in range(1, cutoff + 1):
            before, carry = reached.copy(), ~reached
            reached[rows] |= np.bitwise_or.reduceat(before[target], starts, axis=0)
            if (reached == before).all():
                break
            for place, digit in enumerate(digits):
                digits[place], carry = digit ^ carry, digit & carry
            if len(digits) < step.bit_length():
                digits.append(carry)
        for place, digit in enumerate(digits):
            digit = (digit & reached).view(np.uint8)
            ones = np.unpackbits(digit, axis=1, count=count, bitorder="little")
            lengths[:, columns] += ones.astype(np.int16) << place
    return lengths
