r"""The computational graph of a network of DeepNets-1M without building or tracing it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from pyg_ghn.architectures.network import network_from_args
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.architectures.plan_graph import plan_graph
from pyg_ghn.graph import from_module
from pyg_ghn.graph.primitives import PRIMITIVES
from pyg_ghn.graph.unsupported import UNUSED

_POOLING = {PRIMITIVES.index(op): (1, 1, 3, 3) for op in ("max_pool", "avg_pool")}
_WITH_BIAS = [PRIMITIVES.index(op) for op in ("bn", "ln")]


def network_graph(
    net_args: Mapping[str, Any],
    num_classes: int = 10,
    input_size: tuple[int, int, int] = (3, 32, 32),
) -> Data:
    r"""The graph that :func:`~pyg_ghn.graph.from_module` makes of
    :obj:`network_from_args(net_args, num_classes, input_size)`, many times faster. Where the last
    cell has one pixel only, some operations are not what they are elsewhere: such a network is
    traced.

    Args:
        net_args (dict): See :func:`~pyg_ghn.architectures.network_from_args`.
        num_classes (int, optional): Number of classes. (default: :obj:`10`)
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)

    Raises:
        ArchitectureError: If an argument is unknown or invalid.
    """
    changes = {"num_classes": num_classes, "input_size": input_size}
    plan = NetworkPlan(**network_arguments(net_args, **changes))
    if prod(plan.sizes[1]) == 1:
        network = network_from_args(net_args, num_classes, input_size, device="meta")
        return from_module(network, network.input_size)
    graph = plan_graph(plan)
    params = {
        f"{prefix}.{name}": shape
        for prefix, part in plan.parts
        for name, shape in part.parameter_shapes.items()
    }
    nodes = list(zip(graph.ops, graph.param_names, strict=True))
    bias_names = [
        f"{name.removesuffix('weight')}bias" if name and op in _WITH_BIAS else None
        for op, name in nodes
    ]
    edges = np.ascontiguousarray(np.array(graph.edges, np.int64).reshape(-1, 2).T)
    used = {*graph.param_names, *bias_names}
    unused = [name for name in params if name not in used]
    return Data(
        x=torch.from_numpy(np.array(graph.ops, np.int64)).view(-1, 1),
        edge_index=torch.from_numpy(edges),
        param_name=[name or None for _, name in nodes],
        param_shape=[params[name] if name else _POOLING.get(op) for op, name in nodes],
        bias_name=bias_names,
        unsupported=unused,
        unsupported_reason=[UNUSED] * len(unused),
    )
