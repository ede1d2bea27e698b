r"""The computational graph of a network of DeepNets-1M without tracing it."""

from __future__ import annotations

from math import prod

import torch
from torch_geometric.data import Data

from pyg_ghn.architectures.network import Network
from pyg_ghn.architectures.plan_graph import plan_graph
from pyg_ghn.graph import from_module
from pyg_ghn.graph.primitives import PRIMITIVES
from pyg_ghn.graph.unsupported import UNUSED

_POOLING = {PRIMITIVES.index(op): (1, 1, 3, 3) for op in ("max_pool", "avg_pool")}
_WITH_BIAS = [PRIMITIVES.index(op) for op in ("bn", "ln")]


def network_graph(network: Network) -> Data:
    r"""As :obj:`from_module(network)`, see :func:`~pyg_ghn.graph.from_module`, but many times
    faster. Where the last cell has one pixel only, some operations are not what they are elsewhere:
    such a network is traced."""
    if prod(network.plan.sizes[1]) == 1:
        return from_module(network, network.input_size)
    graph = plan_graph(network.plan)
    params = {name: tuple(param.shape) for name, param in network.named_parameters()}
    nodes = list(zip(graph.ops, graph.param_names, strict=True))
    bias_names = [
        f"{name.removesuffix('weight')}bias" if name and op in _WITH_BIAS else None
        for op, name in nodes
    ]
    used = {*graph.param_names, *bias_names}
    unused = [name for name in params if name not in used]
    return Data(
        x=torch.tensor(graph.ops, device="cpu").view(-1, 1),
        edge_index=torch.tensor(graph.edges, device="cpu").view(-1, 2).t().contiguous(),
        param_name=[name or None for _, name in nodes],
        param_shape=[params[name] if name else _POOLING.get(op) for op, name in nodes],
        bias_name=bias_names,
        unsupported=unused,
        unsupported_reason=[UNUSED] * len(unused),
    )
