r"""The computational graph of a network straight from its plan: nothing is built or traced.

It is the graph that :func:`~pyg_ghn.graph.from_module` makes of the network, node by node, a
hundred times faster. Every module that a plan names is a block of nodes in the order in which it
runs; blocks are listed below as data.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pyg_ghn.architectures.parts import CellPlan
from pyg_ghn.architectures.plan import NetworkPlan
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX


class PlanGraph(NamedTuple):
    r"""A computational graph as :func:`~pyg_ghn.graph.from_module` orders it."""

    ops: list[int]  # rows of PRIMITIVES, node 0 the input
    edges: list[tuple[int, int]]
    param_names: list[str]  # "" where a node has no parameter


class _Node(NamedTuple):
    op: str
    name: str = ""  # of the parameter, within the block
    sources: tuple[int, ...] = (-1,)  # 0 is what the block reads, i its i-th node, -1 the previous


def _chain(*nodes: str) -> tuple[_Node, ...]:
    return tuple(_Node(*node.split()) for node in nodes)


_SIMPLE_STEM = _chain("conv 0.weight", "bn 1.weight")
_STEM0 = _chain("conv 0.weight", "bn 1.weight", "conv 3.weight", "bn 4.weight")
_STEM1 = _chain("conv 1.weight", "bn 2.weight")
_VIT_STEM = _chain("conv weight")
_POSITIONS = (_Node("pos_enc", "weight", ()), _Node("sum", sources=(0, 1)))
_LINEAR = _chain("conv weight", "bias bias")
_CONV = _chain("conv op.1.weight", "bn op.2.weight")
_CONV_PAIR = _chain("conv op.1.weight", "conv op.2.weight", "bn op.3.weight")
_DIL_CONV = _chain("dil_conv op.1.weight", "conv op.2.weight", "bn op.3.weight")
_SEP_CONV = _chain(
    *("sep_conv op.1.weight", "conv op.2.weight", "bn op.3.weight"),
    *("sep_conv op.5.weight", "conv op.6.weight", "bn op.7.weight"),
)
_REDUCE = (
    _Node("conv", "conv_1.weight", (0,)),
    _Node("conv", "conv_2.weight", (0,)),
    _Node("concat", sources=(1, 2)),
    _Node("bn", "bn.weight"),
)
_ATTENTION = (
    *_chain("ln ln1.weight", "conv attn.to_qkv.weight", "msa"),
    *_chain("conv attn.to_out.0.weight", "bias attn.to_out.0.bias"),
    _Node("sum", sources=(0, 5)),
    *_chain("ln ln2.weight", "conv ff.net.0.weight", "bias ff.net.0.bias"),
    *_chain("conv ff.net.3.weight", "bias ff.net.3.bias"),
    _Node("sum", sources=(6, 11)),
)
_SQUEEZE_EXCITATION = (
    *_chain("conv fc1.weight", "bias fc1.bias", "conv fc2.weight", "bias fc2.bias"),
    _Node("cse", sources=(0, 4)),
)

_OPERATIONS: dict[str, tuple[_Node, ...]] = {
    "max_pool_3x3": _chain("max_pool"),
    "avg_pool_3x3": _chain("avg_pool"),
    "skip_connect": (),
    **dict.fromkeys(("sep_conv_3x3", "sep_conv_5x5"), _SEP_CONV),
    **dict.fromkeys(("dil_conv_3x3", "dil_conv_5x5"), _DIL_CONV),
    **dict.fromkeys(("conv_1x1", "conv_3x3", "conv_5x5", "conv_7x7"), _CONV),
    "conv_7x1_1x7": _CONV_PAIR,
    "msa": _ATTENTION,
    "cse": _SQUEEZE_EXCITATION,
}
_STRIDING_OPERATIONS = _OPERATIONS | {"skip_connect": _REDUCE}


def plan_graph(plan: NetworkPlan) -> PlanGraph:
    r"""Makes the computational graph of a network.

    Args:
        plan (NetworkPlan): The network. Its images have to be large enough that more than one
            pixel is left for the last cell.
    """
    graph = _Builder(plan)
    x0, x1 = graph.stem()
    for i, cell in enumerate(plan.cells):
        x0, x1 = x1, graph.cell(f"cells.{i}.", cell, x0, x1) if cell.live.cell else None
    x = graph.add("glob_avg", "", [x1]) if plan.glob_avg else x1
    for i in range(plan.fc_layers):
        x = graph.block(_LINEAR, f"classifier.{3 * i}.", x)
    return PlanGraph(graph.ops, sorted(graph.edges), graph.param_names)


class _Builder:
    # Everything that flows through these networks comes from a single node: its index.

    def __init__(self, plan: NetworkPlan):
        self.plan = plan
        self.ops = [PRIMITIVE_INDEX["input"]]
        self.param_names = [""]
        self.edges: list[tuple[int, int]] = []

    def add(self, op: str, name: str, sources: Iterable[int]) -> int:
        index = len(self.ops)
        self.ops.append(PRIMITIVE_INDEX[op])
        self.param_names.append(name)
        self.edges += [(source, index) for source in sources]
        return index

    def block(self, nodes: tuple[_Node, ...], prefix: str, source: int) -> int:
        outputs = [source]
        for op, name, sources in nodes:
            if op == "bn" and self.plan.norm is None:
                outputs.append(outputs[-1])
            else:
                name = prefix + name if name else ""
                outputs.append(self.add(op, name, [outputs[i] for i in sources]))
        return outputs[-1]

    def join(self, op: str, sources: Iterable[int | None]) -> int | None:
        r"""A sum or concatenation, where there are two different things to join."""
        distinct = {source for source in sources if source is not None}
        return self.add(op, "", distinct) if len(distinct) > 1 else next(iter(distinct), None)

    def stem(self) -> tuple[int, int | None]:
        plan = self.plan
        if plan.genotype.is_vit:
            x = self.block(_POSITIONS, "pos_enc.", self.block(_VIT_STEM, "stem0.", 0))
        elif plan.stem_type == 1:
            x = self.block(_STEM0, "stem0.", 0)
            return x, self.block(_STEM1, "stem1.", x) if plan.live_stem1 else None
        else:
            pool = _chain("max_pool") if plan.stem_pool else ()
            x = self.block(_SIMPLE_STEM + pool, "stem.", 0)
        return x, x

    def cell(self, prefix: str, plan: CellPlan, *inputs: int | None) -> int:
        halves = (plan.halve_first, False)
        states = [
            self._preprocess(f"{prefix}preprocess{i}.", x, halve) if live else None
            for i, (x, halve, live) in enumerate(zip(inputs, halves, plan.live.inputs, strict=True))
        ]
        results = []
        for i, ((name, state), live) in enumerate(zip(plan.ops, plan.live.ops, strict=True)):
            blocks = _STRIDING_OPERATIONS if plan.stride > 1 and state < 2 else _OPERATIONS
            own_prefix = f"{prefix}_ops.{i}."
            results.append(self.block(blocks[name], own_prefix, states[state]) if live else None)
            if i % 2:
                states.append(self.join("sum", results[-2:]))
        return self.join("concat", [states[state] for state in plan.concat])

    def _preprocess(self, prefix: str, x: int, halve: bool) -> int:
        if not self.plan.preproc:
            return x
        return self.block(_REDUCE if halve else _CONV, prefix, x)
