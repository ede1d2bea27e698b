r"""The graph transformer layer of GHN-3."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.inits import reset
from torch_geometric.nn.resolver import activation_resolver, normalization_resolver

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn.attention_bias import AttentionBias
from pyg_ghn.nn.batching import graph_sizes


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
    Nodes attend to all nodes of their own graph. Node features go in and out in sparse form: norms
    and linear layers run on them as they are, attention on graphs of similar size at once.

    Edges enter through the bias alone: without one the layer sees each graph as a set. It is at
    home in any PyG model, on top of message passing or instead of it:

    .. code-block:: python

        data = AddShortestPathEncoding(cutoff=20)(data)  # once, before batching
        ...
        attn_bias = self.path_bias(data)  # once for all layers
        for local, attend in zip(self.local, self.attend):
            x = x + local(x, data.edge_index).relu()  # e.g. GINConv
            x = attend(x, data.batch, attn_bias)

    Args:
        channels (int): Size of each node's features.
        heads (int, optional): Number of attention heads; divides :obj:`channels`.
            (default: :obj:`1`)
        dropout (float, optional): Dropout of what attention and MLP add, and within the MLP.
            (default: :obj:`0.`)
        attn_dropout (float, optional): Dropout of the attention weights. (default: :obj:`0.`)
        act (str or Module, optional): The activation of the MLP. (default: :obj:`"gelu"`)
        act_kwargs (dict, optional): Arguments of the activation. (default: :obj:`None`)
        norm (str or Module, optional): The normalization in front of attention and MLP.
            (default: :obj:`"layer_norm"`)
        norm_kwargs (dict, optional): Arguments of the normalization. A layer norm is of each node
            by itself, unless they say :obj:`mode="graph"`. (default: :obj:`None`)

    Shapes:
        - **input:** node features :math:`(\sum_g N_g, \text{channels})`; batch vector
          :math:`(\sum_g N_g)` or the list of :math:`N_g` *(optional)*; attention bias
          *(optional)*: what :class:`~pyg_ghn.nn.ShortestPathBias` or
          :class:`~pyg_ghn.nn.PairBias` makes, or for each graph one tensor
          :math:`(1, \text{heads}, N_g, N_g)`, or :math:`(1, 1, N_g, N_g)` for all heads alike. It
          alone tells where graphs begin; the batch vector is read without it only.
        - **padded input:** node features :math:`(B, N, \text{channels})` and attention bias
          :math:`(B, \text{heads}, N, N)` or :math:`(B, 1, N, N)`, minus infinity for keys that are
          padding, or the mask of nodes :math:`(B, 1, 1, N)` *(optional)*; no batch vector, and no
          norm but that of each node
        - **output:** node features like those of the input; with
          :obj:`return_attention_weights=True` also the attention weights, for each graph
          :math:`(\text{heads}, N_g, N_g)`, rows for queries

    Raises:
        ConfigError: If :obj:`heads` does not divide :obj:`channels`, the bias or batch vector
            does not fit the nodes or heads, or padding would not be told from nodes.
        GraphError: If the batch vector is not sorted.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        act: str | nn.Module | None = "gelu",
        act_kwargs: dict[str, Any] | None = None,
        norm: str | nn.Module | None = "layer_norm",
        norm_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ConfigError(f"`heads` must divide `channels`, got {heads} and {channels}.")
        self.channels = channels
        self.heads = heads
        self.dropout = dropout
        self.attn_dropout = attn_dropout
        if isinstance(norm, str) and norm.lower().replace("_", "") == "layernorm":
            norm_kwargs = {"mode": "node"} | (norm_kwargs or {})  # PyG's is over all nodes
        self.norm1, self.norm2 = (
            nn.Identity()
            if norm is None
            else normalization_resolver(copy.deepcopy(norm), channels, **(norm_kwargs or {}))
            for _ in range(2)
        )
        self.norm_by_node = (
            isinstance(self.norm1, nn.Identity | nn.LayerNorm)
            or getattr(self.norm1, "mode", None) == "node"
        )
        takes_batch = "batch" in inspect.signature(self.norm1.forward).parameters
        self.norm_with_batch = takes_batch and not self.norm_by_node
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels),
            nn.Identity() if act is None else activation_resolver(act, **(act_kwargs or {})),
            nn.Linear(4 * channels, channels),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in (self.norm1, self.qkv, self.out, self.norm2, self.mlp):
            reset(module)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        # `to_hetero` would silently make a layer for each type, which only sees nodes of that type.
        if not isinstance(x, Tensor):
            raise ConfigError(
                "GHN3Conv attends to all nodes of a graph, whatever their type, and cannot be made "
                f"heterogeneous (`x` is a {x.__class__.__name__}): leave it out of `to_hetero` and "
                "`fx`, and give it the nodes of `data.to_homogeneous()`."
            )
        return super().__call__(x, *args, **kwargs)

    def forward(
        self,
        x: Tensor,
        batch: Tensor | Sequence[int] | None = None,
        attn_bias: Sequence[Tensor] | Tensor | None = None,
        return_attention_weights: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        r"""Runs the forward pass of the module.

        Args:
            x (Tensor): The node features.
            batch (Tensor or list of int, optional): The graph that each node belongs to, or the
                number of nodes of each graph. (default: :obj:`None`)
            attn_bias (AttentionBias, list or Tensor, optional): The bias of the attention logits.
                (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`, also returns the
                attention weights of each graph. (default: :obj:`False`)
        """
        if x.dim() == 3:
            attend = self._attend_padded
            self._check_padded(batch, attn_bias)
        else:
            attend = self._attend
            attn_bias = self._bias_of_graphs(x, batch, attn_bias)
        graphs = ()
        if self.norm_with_batch:
            graphs = (batch if isinstance(batch, Tensor) else attn_bias.layout.batch,)
        out, weights = attend(self.qkv(self.norm1(x, *graphs)), attn_bias, return_attention_weights)
        x = x + F.dropout(self.out(out), self.dropout, self.training)
        first, act, second = self.mlp
        hidden = F.dropout(act(first(self.norm2(x, *graphs))), self.dropout, self.training)
        x = x + F.dropout(second(hidden), self.dropout, self.training)
        return (x, weights) if return_attention_weights else x

    def _check_padded(self, batch: Any, attn_bias: Any) -> None:
        """Whether padding is told by the bias alone, and norms do not read it."""
        if batch is not None:
            raise ConfigError(
                "`batch` is not read for padded nodes (B, N, channels): give the mask of "
                "`to_dense_batch` as `attn_bias`, mask[:, None, None], or in a bias."
            )
        if not (attn_bias is None or isinstance(attn_bias, Tensor)):
            raise ConfigError(
                "The bias of padded nodes (B, N, channels) must be one tensor (B, heads, N, N), "
                f"got {type(attn_bias).__name__}: see `to_dense_pairs`."
            )
        if not self.norm_by_node:
            raise ConfigError(
                "With padded nodes (B, N, channels) the norm must be `layer_norm` or none, for "
                f"{self.norm1} would also be over padding: use the sparse form."
            )

    @torch.compiler.disable
    def _bias_of_graphs(
        self, x: Tensor, batch: Any, attn_bias: Sequence[Tensor] | None
    ) -> AttentionBias:
        """The bias in blocks of graphs, none being zero; it fits the nodes and heads."""
        if attn_bias is None:
            sizes, source = [len(x)] if batch is None else graph_sizes(batch), "batch vector"
            attn_bias = AttentionBias.zero(sizes, self.heads, x)
        else:
            source = "attention bias"
            if not isinstance(attn_bias, AttentionBias):
                attn_bias = AttentionBias.of_graphs(attn_bias, self.heads)
        if sum(attn_bias.sizes) != len(x):
            raise ConfigError(
                f"The {source} is for graphs of {attn_bias.sizes} nodes, but `x` has {len(x)} "
                "nodes."
            )
        heads = {len(values) for values in attn_bias.values}
        if heads - {self.heads}:
            raise ConfigError(f"The bias has {heads.pop()} heads, the layer {self.heads}.")
        return attn_bias

    @torch.compiler.disable
    def _attend(
        self, qkv: Tensor, attn_bias: AttentionBias, with_weights: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Attention within each graph, by blocks of graphs, and perhaps its weights."""
        if not len(qkv):
            return qkv[:, : self.channels], []
        outs, weights = [], []
        for nodes, bias in zip(attn_bias.layout.split(qkv), attn_bias.values, strict=True):
            count, size, _ = nodes.shape
            qkv_of_heads = nodes.view(count, size, 3, self.heads, -1).permute(2, 3, 0, 1, 4)
            out, weight = self._attention(*qkv_of_heads.flatten(1, 2), bias, with_weights)
            outs.append(out.unflatten(0, (-1, count)).permute(1, 2, 0, 3).flatten(2))
            weights.append(weight)
        out = attn_bias.layout.join(outs)
        if not with_weights:
            return out, []
        return out, [some.squeeze(0) for some in AttentionBias(attn_bias.layout, weights)]

    def _attend_padded(
        self, qkv: Tensor, attn_bias: Tensor | None, with_weights: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Attention within each row of a padded batch, and perhaps its weights."""
        count, size, _ = qkv.shape
        if with_weights:
            bias = qkv.new_zeros(()) if attn_bias is None else attn_bias
            bias = bias.expand(count, self.heads, size, size)
            bias = AttentionBias.of_graphs(bias, self.heads)
            out, weights = self._attend(qkv.flatten(0, 1), bias, True)
            return out.view(count, size, -1), weights
        q, k, v = qkv.view(count, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.attn_dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_bias, dropout)
        return out.transpose(1, 2).flatten(2), []

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, with_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention (heads and graphs, nodes, features), and its weights in the bias's shape."""
        dropout = self.attn_dropout if self.training else 0.0
        shape, bias = bias.shape[:2], bias.to(q.dtype).flatten(0, 1)
        if q.is_cuda and not with_weights:
            inputs = (part[None] for part in (q, k, v, bias))
            return F.scaled_dot_product_attention(*inputs, dropout)[0], None
        # On a CPU, PyTorch has nothing faster where the bias takes a gradient.
        scale = q.size(-1) ** -0.5
        if k.size(-2) < 16:  # a softmax over the last dimension takes several times as long
            weights = torch.baddbmm(bias.mT, k, q.mT, alpha=scale).softmax(dim=-2).mT
        else:
            weights = torch.baddbmm(bias, q, k.mT, alpha=scale).softmax(dim=-1)
        return F.dropout(weights, dropout) @ v, weights.unflatten(0, shape)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, heads={self.heads})"
