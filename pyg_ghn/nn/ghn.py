r"""Graph hypernetworks: from computational graphs to the parameters of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn.inits import reset
from torch_geometric.transforms import BaseTransform, Compose

from pyg_ghn.errors import ConfigError
from pyg_ghn.graph import from_module
from pyg_ghn.graph.convert import outside_modes
from pyg_ghn.graph.primitives import PRIMITIVES
from pyg_ghn.nn.attention_bias import AttentionBias
from pyg_ghn.nn.batching import require, send
from pyg_ghn.nn.decoder import ParameterDecoder
from pyg_ghn.nn.encodings import CentralityEncoding, ShapeEncoding
from pyg_ghn.nn.ghn3_conv import GHN3Conv
from pyg_ghn.nn.prediction import Prediction, fit_to_model
from pyg_ghn.nn.shortest_path_bias import ShortestPathBias
from pyg_ghn.nn.targets import collect_targets
from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding, RequireAcyclic


class GHN(nn.Module, ABC):
    r"""Base class of graph hypernetworks, which embed the nodes of computational graphs and decode
    the embeddings into parameters. It sees graphs only, never modules.

    Args:
        channels (int): Size of the node embeddings.
        max_shape (tuple): Size of the largest kernel decoded without repetition.
        num_classes (int): Number of classes of the image data set.
        **kwargs (optional): Further arguments of :class:`~pyg_ghn.nn.ParameterDecoder`.
    """

    CONFIGS: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(
        self, channels: int, max_shape: tuple[int, ...], num_classes: int, **kwargs: Any
    ) -> None:
        super().__init__()
        self.hidden_channels = channels
        self.num_classes = num_classes
        self.decoder = ParameterDecoder(channels, max_shape, num_classes, **kwargs)
        self.op_embedding = _OpEmbedding(len(PRIMITIVES), channels)
        self.shape_encoding = ShapeEncoding(channels, max_shape[-1], num_classes)

    @classmethod
    def from_config(cls, name: str, num_classes: int = 1000) -> GHN:
        r"""Makes a GHN of one of the sizes of its paper, with random parameters.

        Args:
            name (str): One of the names in :attr:`CONFIGS`.
            num_classes (int, optional): Number of classes. (default: :obj:`1000`)

        Raises:
            ConfigError: If the name is unknown.
        """
        if name not in cls.CONFIGS:
            raise ConfigError(f"Unknown configuration '{name}', choose one of {[*cls.CONFIGS]}.")
        return cls(**cls.CONFIGS[name], num_classes=num_classes)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.children():
            reset(module)

    @property
    def config(self) -> dict[str, Any]:
        r"""The arguments that make the same GHN; can be written as JSON. A class that takes others
        adds its own."""
        return {
            "hidden_channels": self.hidden_channels,
            "max_shape": list(self.decoder.max_shape),
            "num_classes": self.num_classes,
            "weight_norm": self.decoder.weight_norm,
        }

    @property
    @abstractmethod
    def transform(self) -> BaseTransform:
        r"""The encodings that this GHN needs on a :class:`~torch_geometric.data.Data`."""

    @abstractmethod
    def encode(self, x: Tensor, data: Data) -> Tensor:
        r"""Node embeddings of a graph or batch, from those of single nodes."""

    def embed(self, data: Data, shapes: Sequence[tuple[int, ...] | None]) -> Tensor:
        r"""Embeds the nodes of a graph or batch, whose parameters have the given shapes."""
        ops = send(data.x.view(-1), self.op_embedding.weight.device)
        return self.encode(self.op_embedding(ops) + self.shape_encoding(shapes), data)

    def forward(self, data: Data) -> list[dict[str, Tensor]]:
        r"""Predicts the parameters of all networks of a batch.

        Args:
            data (Data or Batch): Computational graphs with the encodings of :attr:`transform`, best
                on the CPU wherever the GHN is: it reads what it needs to know there and sends the
                rest to its device. From a GPU the host would have to wait for them.

        Returns:
            For each graph the parameters by name, differentiable. Parameters that no node stands
            for are absent. The classification layer is the one whose weight and bias are the last
            two nodes; where their outputs are not :attr:`num_classes`, it is decoded as every
            other layer.

        Raises:
            GraphError: If attributes of the graph are missing.
            DecodeError: If a parameter has a shape that cannot be decoded.
        """
        require(data, "x", "param_name", "param_shape")
        targets = collect_targets(data, self.num_classes)
        shapes = data.param_shape
        shapes = [s for graph in shapes for s in graph] if isinstance(data, Batch) else shapes
        embeddings = self.embed(data, shapes)
        params = iter(self.decoder(embeddings, [t for some in targets for t in some]))
        return [{target.name: next(params) for target in some} for some in targets]

    def predict(
        self,
        model: nn.Module,
        input_size: tuple[int, ...] | None = None,
        example_inputs: Tensor | Data | tuple | dict[str, Any] | None = None,
    ) -> Prediction:
        r"""Predicts the parameters of one model, which is only read.

        Whatever is drawn at random, as the row of a class token in a position embedding, comes
        from the global generator of the GHN's device: :func:`torch.manual_seed` makes it
        reproducible.

        Args:
            model (torch.nn.Module): The model, on any device.
            input_size (tuple, optional): Size of one input without the batch, see
                :func:`~pyg_ghn.graph.from_module`. (default: :obj:`None`)
            example_inputs (Tensor, Data, tuple or dict, optional): Inputs with a batch dimension
                instead, for models that take several. (default: :obj:`None`)

        Returns:
            A dictionary of the parameters by name, on the device and in the type of the GHN, finite
            and of the model's shapes. Parameters that cannot be predicted are absent. Its attribute
            :obj:`report` is a :class:`~pyg_ghn.nn.PredictionReport` on every parameter.

        Raises:
            GraphError: If the model's forward pass fails.
            PredictionError: If a predicted value is not finite.
        """
        with outside_modes():
            data = from_module(model, input_size, example_inputs)
            (targets,) = collect_targets(data, self.num_classes)
            decoded = self.predict_graph(data)
            with torch.device("cpu"):
                return fit_to_model(self, model, data, targets, decoded)

    @torch.no_grad()
    def predict_graph(self, data: Data) -> dict[str, Tensor]:
        r"""Predicts the parameters of the network of one graph, which is only read.

        Args:
            data (Data): The graph as :func:`~pyg_ghn.graph.from_module` makes it, on any device.

        Returns:
            The parameters by name, as those of :meth:`predict`.
        """
        with torch.device("cpu"):  # whatever the default device is
            return self(self.transform(data))[0]

    def __repr__(self) -> str:
        args = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return f"{self.__class__.__name__}({args})"


class GHN3(GHN):
    r"""The graph hypernetwork from the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper: node embeddings of operation, parameter shape and
    centrality (Eq. 7), graph transformer layers with a shortest-path bias (Eq. 9), and a decoder.
    Its parts can be left out as in the ablations of Tables 5 and 11.

    Args:
        hidden_channels (int, optional): Size of the node embeddings. (default: :obj:`64`)
        num_layers (int, optional): Number of graph transformer layers. Instead of 0 layers there is
            an MLP, so that a parameter depends on its own node only. (default: :obj:`3`)
        heads (int, optional): Number of attention heads. (default: :obj:`8`)
        max_shape (tuple, optional): Size :math:`(c_{out}, c_{in}, s, s)` of the largest kernel
            decoded without repetition. (default: :obj:`(64, 64, 16, 16)`)
        num_classes (int, optional): Number of classes of the image data set.
            (default: :obj:`1000`)
        layer_norm (bool, optional): If set to :obj:`False`, there is no normalization after the
            last layer, as in some checkpoints. (default: :obj:`True`)
        weight_norm (bool, optional): If set to :obj:`False`, what is predicted is not scaled, as in
            some checkpoints. (default: :obj:`True`)
        cutoff (int, optional): Longest path that the bias and the distance from the input tell
            apart from none. (default: :obj:`50`)
        edge_bias (str, optional): The bias of attention from node :math:`i` to node :math:`j` is
            that of paths there and back (:obj:`"both"`), of paths from :math:`i` to :math:`j`
            (:obj:`"forward"`), or there is none (:obj:`"none"`), as it must be without layers.
            (default: :obj:`"both"`)
        centrality (bool, optional): If set to :obj:`False`, degrees are not encoded.
            (default: :obj:`True`)
        input_distance (bool, optional): If set to :obj:`False`, distances from the input are not
            encoded. (default: :obj:`True`)

    Raises:
        ConfigError: If an argument makes no sense, by itself or beside the others.
    """

    CONFIGS: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            "hidden_channels": channels,
            "num_layers": num_layers,
            "heads": heads,
            "max_shape": (channels, channels, 16, 16),
        }
        for name, channels, num_layers, heads in (
            ("ghn3-t", 64, 3, 8),
            ("ghn3-s", 128, 5, 16),
            ("ghn3-l", 256, 12, 16),
            ("ghn3-xl", 384, 24, 16),
        )
    }

    def __init__(
        self,
        hidden_channels: int = 64,
        num_layers: int = 3,
        heads: int = 8,
        max_shape: tuple[int, ...] = (64, 64, 16, 16),
        num_classes: int = 1000,
        layer_norm: bool = True,
        weight_norm: bool = True,
        cutoff: int = 50,
        edge_bias: str = "both",
        centrality: bool = True,
        input_distance: bool = True,
    ) -> None:
        if edge_bias not in ("both", "forward", "none"):
            raise ConfigError(f"`edge_bias` must be both, forward or none, got {edge_bias!r}.")
        if num_layers == 0 and edge_bias != "none":
            raise ConfigError(
                "Without layers there is no attention and no bias of it: with `num_layers=0`, set "
                f"`edge_bias` to none, not {edge_bias}."
            )
        super().__init__(hidden_channels, max_shape, num_classes, weight_norm=weight_norm)
        self.heads = heads
        self.cutoff = cutoff
        self.edge_bias = edge_bias
        self.centrality = centrality
        self.input_distance = input_distance
        if centrality or input_distance:
            self.centrality_encoding = CentralityEncoding(
                hidden_channels, 100 if centrality else None, 1000 if input_distance else None
            )
        if edge_bias != "none":
            self.path_bias = ShortestPathBias(
                heads, hidden_channels, cutoff, backward=edge_bias == "both"
            )
        self.convs = nn.ModuleList(GHN3Conv(hidden_channels, heads) for _ in range(num_layers))
        if not num_layers:
            self.node_mlp = make_node_mlp(hidden_channels)
        self.norm = nn.LayerNorm(hidden_channels) if layer_norm else nn.Identity()

    @property
    def config(self) -> dict[str, Any]:
        return {
            **super().config,
            "layer_norm": isinstance(self.norm, nn.LayerNorm),
            "num_layers": len(self.convs),
            "heads": self.heads,
            "cutoff": self.cutoff,
            "edge_bias": self.edge_bias,
            "centrality": self.centrality,
            "input_distance": self.input_distance,
        }

    @property
    def transform(self) -> BaseTransform:
        transforms: list[BaseTransform] = [RequireAcyclic()]
        if self.centrality or self.input_distance:
            transforms.append(AddDegreeEncoding(self.cutoff))
        if self.edge_bias != "none":
            transforms.append(AddShortestPathEncoding(self.cutoff))
        return Compose(transforms)

    def encode(self, x: Tensor, data: Data) -> Tensor:
        r"""Node embeddings of a graph or batch, from those of single nodes."""
        if self.centrality or self.input_distance:
            require(data, "in_degree", "out_degree", "input_distance")
            centralities = (data.in_degree, data.out_degree, data.input_distance)
            x = x + self.centrality_encoding(*(send(values, x.device) for values in centralities))
        if not self.convs:
            return self.norm(self.node_mlp(x))
        batch = data.batch if isinstance(data, Batch) else None
        if self.edge_bias == "none":
            sizes = [len(x)] if batch is None else data.ptr.diff().tolist()
            attn_bias = AttentionBias.zero(sizes, self.heads, x)
        else:
            require(data, "spd")
            attn_bias = self.path_bias(send(data.spd, x.device), batch)
        for conv in self.convs:
            x = conv(x, batch, attn_bias)
        return self.norm(x)


def make_node_mlp(channels: int) -> nn.Sequential:
    r"""What takes the place of layers in the ablations in which nodes do not see each other."""
    linears = nn.Linear(channels, channels), nn.Linear(channels, channels)
    return nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU())


class _OpEmbedding(nn.Embedding):
    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=self.embedding_dim**-0.5)
