r"""The computational graph of a network straight from its plan: nothing is built or traced.

It is the graph that :func:`~pyg_ghn.graph.from_module` makes of the network, node by node, a
hundred times faster. The nodes of every module that a plan names are listed below as data.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data

from pyg_ghn.architectures import operations
from pyg_ghn.architectures.network import Network
from pyg_ghn.architectures.plan import ModulePlan, NetworkPlan, network_arguments, parameter_shapes
from pyg_ghn.graph import from_module
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.graph.unsupported import UNUSED


def network_graph(
    net_args: Mapping[str, Any],
    num_classes: int = 10,
    input_size: tuple[int, int, int] = (3, 32, 32),
    C: int | None = None,
    fc_dim: int | None = None,
) -> Data:
    r"""Makes the computational graph of the network that
    :func:`~pyg_ghn.architectures.network_from_args` builds of these arguments: the one that
    :func:`~pyg_ghn.graph.from_module` makes of it, without building it.

    Where one pixel is left for the last cell, some operations are not what they are elsewhere: only
    such a network is built (on the meta device) and traced.

    Raises:
        ArchitectureError: If an argument is unknown or invalid.
    """
    changes = {"num_classes": num_classes, "input_size": input_size, "C": C, "fc_dim": fc_dim}
    args = network_arguments(net_args, **changes)
    plan = NetworkPlan(**args)
    if prod(plan.sizes[1]) == 1:
        return from_module(Network(**args, device="meta"), plan.input_size)
    graph = plan_graph(plan)
    return Data(
        x=torch.from_numpy(np.array(graph.ops, np.int64)).view(-1, 1),
        edge_index=torch.from_numpy(np.array(graph.edges, np.int64).T.copy()),
        param_name=graph.param_names,
        param_shape=graph.param_shapes,
        bias_name=graph.bias_names,
        unsupported=graph.unused,
        unsupported_reason=[UNUSED] * len(graph.unused),
    )


class PlanGraph(NamedTuple):
    r"""A computational graph as :func:`~pyg_ghn.graph.from_module` orders it. The lists of labels
    have :obj:`None` where a node has no such label."""

    ops: list[int]  # rows of PRIMITIVES, node 0 the input
    edges: list[tuple[int, int]]
    param_names: list[str | None]
    param_shapes: list[tuple[int, ...] | None]
    bias_names: list[str | None]
    unused: list[str]  # parameters that the output does not depend on


def plan_graph(plan: NetworkPlan) -> PlanGraph:
    """Makes the graph of a network that leaves more than one pixel for the last cell."""
    graph = PlanGraph([PRIMITIVE_INDEX["input"]], [], [None], [None], [None], [])
    stem = iter(plan.stem.items())
    x0 = x1 = _add_module(graph, *next(stem), 0)
    for name, module in stem:  # pos_enc or stem1
        x1 = _add_module(graph, name, module, x0, plan.live_stem1)
        x0 = x1 if plan.genotype.is_vit else x0
    for i, cell in enumerate(plan.cells):
        prefix = f"cells.{i}."
        states = [
            _add_module(graph, f"{prefix}preprocess{j}", module, x, live)
            for j, (module, x, live) in enumerate(
                zip(cell.inputs, (x0, x1), cell.live.inputs, strict=True)
            )
        ]
        results = []
        for j, module in enumerate(cell.operations):
            source, live = states[cell.ops[j][1]], cell.live.ops[j]
            results.append(_add_module(graph, f"{prefix}_ops.{j}", module, source, live))
            if j % 2:
                states.append(_join(graph, _SUM, results[-2:]))
        x0, x1 = x1, _join(graph, _CONCAT, [states[state] for state in cell.concat])
    if plan.glob_avg:
        x1 = _add_node(graph, _GLOB_AVG, (x1,))
    _add_module(graph, "classifier", plan.classifier, x1)
    graph.edges.sort()
    return graph


_SUM, _CONCAT, _GLOB_AVG = (PRIMITIVE_INDEX[op] for op in ("sum", "concat", "glob_avg"))

# The nodes of a module in the order in which it runs: "primitive [parameter] [< sources]". Source 0
# is what the module reads, i its i-th node; a node without sources reads the one before.
_REDUCE = ("conv conv_1.weight < 0", "conv conv_2.weight < 0", "concat < 1 2", "bn bn.weight")
_OPERATIONS: dict[str, tuple[str, ...]] = {  # but for convolutions
    "max_pool_3x3": ("max_pool",),
    "avg_pool_3x3": ("avg_pool",),
    "skip_connect": (),  # where it does not stride
    "msa": (
        *("ln ln1.weight", "conv attn.to_qkv.weight", "msa"),
        *("conv attn.to_out.0.weight", "bias attn.to_out.0.bias", "sum < 0 5"),
        *("ln ln2.weight", "conv ff.net.0.weight", "bias ff.net.0.bias"),
        *("conv ff.net.3.weight", "bias ff.net.3.bias", "sum < 6 11"),
    ),
    "cse": ("conv fc1.weight", "bias fc1.bias", "conv fc2.weight", "bias fc2.bias", "cse < 0 4"),
}
_LAYERS: dict[str, tuple[str, ...]] = {  # {} is the layer's position
    "conv": ("conv {}.weight",),
    "sep_conv": ("sep_conv {}.weight",),
    "dil_conv": ("dil_conv {}.weight",),
    "norm": ("bn {}.weight",),
    "linear": ("conv {}.weight", "bias {}.bias"),
    "max_pool": ("max_pool",),
    "relu": (),
    "dropout": (),
}


def _operation(name: str, *sizes: Any) -> Iterable[str]:
    if "conv" in name:
        return _layers(operations.convolution_layers(name, *sizes), "op.")
    stride = sizes[2]
    return _REDUCE if name == "skip_connect" and stride > 1 else _OPERATIONS[name]


def _layers(layers: Iterable[tuple], prefix: str = "") -> Iterable[str]:
    nodes = (_LAYERS[name] for name, *_ in layers)
    return [node.format(f"{prefix}{i}") for i, some in enumerate(nodes) for node in some]


_MODULES: dict[Callable[..., nn.Module], Callable[..., Iterable[str]]] = {
    operations.PositionEncoding: lambda *sizes: ("pos_enc weight <", "sum < 0 1"),
    operations.build_conv: lambda *sizes: ("conv weight",),
    operations.build_layers: _layers,
    operations.build_operation: _operation,
    operations.build_passage: lambda halve: (),
}


class _Node(NamedTuple):
    op: int
    sources: tuple[int, ...]
    name: str | None
    shape: tuple[int, ...] | None
    bias: str | None


@lru_cache(maxsize=8192)
def _nodes(module: ModulePlan) -> tuple[tuple[_Node, ...], int]:
    # The module's nodes, and which of them is its output.
    nodes: list[_Node] = []
    shapes, places = parameter_shapes(module), [0]
    for line in _MODULES[module.build](*module.args):
        labels, arrow, sources = line.partition("<")
        op, name = [*labels.split(), None][:2]
        read = map(int, sources.split()) if arrow else (-1,)
        if op == "bn" and name not in shapes:  # without norm nothing is in its place
            places.append(places[-1])
            continue
        bias = f"{name.removesuffix('weight')}bias" if op in ("bn", "ln") else None
        shape = (1, 1, 3, 3) if op in ("max_pool", "avg_pool") else shapes.get(name)
        sources = tuple(places[i] for i in read)
        nodes.append(_Node(PRIMITIVE_INDEX[op], sources, name, shape, bias))
        places.append(len(nodes))
    return tuple(nodes), places[-1]


def _add_module(
    graph: PlanGraph, name: str, module: ModulePlan, source: int | None, live: bool = True
) -> int | None:
    # All that flows through these networks comes from a single node: its index is returned.
    if not live:
        graph.unused.extend(f"{name}.{own}" for own in parameter_shapes(module))
        return None
    nodes, output = _nodes(module)
    before = len(graph.ops) - 1  # node i of the module is number before + i
    for node in nodes:
        index = len(graph.ops)
        for i in node.sources:
            graph.edges.append((before + i if i else source, index))
        graph.ops.append(node.op)
        graph.param_names.append(node.name and f"{name}.{node.name}")
        graph.param_shapes.append(node.shape)
        graph.bias_names.append(node.bias and f"{name}.{node.bias}")
    return before + output if output else source


def _join(graph: PlanGraph, op: int, sources: Iterable[int | None]) -> int | None:
    # A sum or concatenation is a node where there are different things to join.
    distinct = {source for source in sources if source is not None}
    return _add_node(graph, op, distinct) if len(distinct) > 1 else next(iter(distinct), None)


def _add_node(graph: PlanGraph, op: int, sources: Iterable[int]) -> int:
    index = len(graph.ops)
    graph.ops.append(op)
    graph.edges.extend((source, index) for source in sources)
    for labels in (graph.param_names, graph.param_shapes, graph.bias_names):
        labels.append(None)
    return index
