r"""Node degrees and the distance from the input node."""

from collections.abc import Sequence

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_ghn.errors import ConfigError
from pyg_ghn.transforms.edges import distances, distinct_edges, successors


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
