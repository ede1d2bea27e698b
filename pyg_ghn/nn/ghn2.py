r"""GHN-2, and its ablation without message passing."""

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform, Compose

from pyg_ghn.nn.batching import require
from pyg_ghn.nn.gated_dag_conv import GatedDAGConv
from pyg_ghn.nn.ghn import GHN, make_node_mlp
from pyg_ghn.transforms import AddShortestPathEncoding, AddTopologicalLevel, RequireAcyclic


class GHN2(GHN):
    r"""The graph hypernetwork from the `"Parameter Prediction for Unseen Deep Architectures"
    <https://arxiv.org/abs/2110.13100>`_ paper: node embeddings of operation and parameter shape,
    gated message passing along edges and virtual edges, and a decoder.

    Args:
        hidden_channels (int, optional): Size of the node embeddings. (default: :obj:`32`)
        max_shape (tuple, optional): Size :math:`(c_{out}, c_{in}, s, s)` of the largest kernel
            decoded without repetition. (default: :obj:`(64, 64, 16, 16)`)
        num_classes (int, optional): Number of classes of the image data set.
            (default: :obj:`1000`)
        layer_norm (bool, optional): If set to :obj:`False`, the embeddings are not normalized, as
            in some checkpoints. (default: :obj:`True`)
        weight_norm (bool, optional): If set to :obj:`False`, what is predicted is not scaled, as in
            some checkpoints. (default: :obj:`True`)
        virtual_edges (bool, optional): If set to :obj:`False`, there are messages along edges only.
            (default: :obj:`True`)
    """

    CONFIGS: ClassVar[dict[str, dict[str, Any]]] = {
        "ghn2": {"hidden_channels": 32, "max_shape": (64, 64, 16, 16)},
        "ghn2-128": {"hidden_channels": 128, "max_shape": (128, 128, 16, 16)},
    }

    def __init__(
        self,
        hidden_channels: int = 32,
        max_shape: tuple[int, ...] = (64, 64, 16, 16),
        num_classes: int = 1000,
        layer_norm: bool = True,
        weight_norm: bool = True,
        virtual_edges: bool = True,
    ) -> None:
        super().__init__(
            hidden_channels, max_shape, num_classes, window="corner", weight_norm=weight_norm
        )
        self.conv = GatedDAGConv(hidden_channels, virtual_edges)
        self.norm = nn.LayerNorm(hidden_channels) if layer_norm else nn.Identity()

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "layer_norm": isinstance(self.norm, nn.LayerNorm),
            "virtual_edges": self.conv.virtual_edges,
        }

    @property
    def transform(self) -> BaseTransform:
        transforms = [RequireAcyclic(), AddTopologicalLevel()]
        if self.conv.virtual_edges:
            transforms.append(AddShortestPathEncoding(cutoff=50))
        return Compose(transforms)

    def encode(self, x: Tensor, data: Data) -> Tensor:
        r"""Node embeddings of a graph or batch, from those of single nodes."""
        require(data, "edge_index", "level", *["spd"] * self.conv.virtual_edges)
        spd = data.spd if self.conv.virtual_edges else None
        batch = data.batch if isinstance(data, Batch) else None
        return self.norm(self.conv(x, data.edge_index, data.level, spd, batch))


class GHNMLP(GHN):
    r"""The ablation of :class:`GHN2` without message passing, from the same paper: an MLP takes the
    place of :class:`~pyg_ghn.nn.GatedDAGConv`, so that a parameter depends on its own node only.

    Args:
        hidden_channels (int, optional): See :class:`GHN2`. (default: :obj:`32`)
        max_shape (tuple, optional): See :class:`GHN2`. (default: :obj:`(64, 64, 16, 16)`)
        num_classes (int, optional): See :class:`GHN2`. (default: :obj:`1000`)
        layer_norm (bool, optional): See :class:`GHN2`. (default: :obj:`True`)
        weight_norm (bool, optional): See :class:`GHN2`. (default: :obj:`True`)
    """

    def __init__(
        self,
        hidden_channels: int = 32,
        max_shape: tuple[int, ...] = (64, 64, 16, 16),
        num_classes: int = 1000,
        layer_norm: bool = True,
        weight_norm: bool = True,
    ) -> None:
        super().__init__(
            hidden_channels, max_shape, num_classes, window="corner", weight_norm=weight_norm
        )
        self.mlp = make_node_mlp(hidden_channels)
        self.norm = nn.LayerNorm(hidden_channels) if layer_norm else nn.Identity()

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "layer_norm": isinstance(self.norm, nn.LayerNorm)}

    @property
    def transform(self) -> BaseTransform:
        return RequireAcyclic()

    def encode(self, x: Tensor, data: Data) -> Tensor:
        r"""Node embeddings, each from its own node."""
        return self.norm(self.mlp(x))
