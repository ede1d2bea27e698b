r"""What the rules work on: the nodes so far, and what is known of each tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from pyg_ghn.graph.trace import Trace

INPUT = 0  # index of the input node


@dataclass
class Node:
    r"""A node of the graph that is being built.

    Attributes:
        op: One of :obj:`~pyg_ghn.graph.PRIMITIVES`.
        preds: Indices of the nodes that it takes its input from.
        param_name: The parameter that it stands for.
        param_shape: That parameter's shape, or a pooling kernel as (1, 1, k, k).
        bias_name: The bias of a normalization, which has no node of its own.
        gate: Those of ``preds`` that reach a ``cse`` as its gate.
    """

    op: str
    preds: set[int] = field(default_factory=set)
    param_name: str | None = None
    param_shape: tuple[int, ...] | None = None
    bias_name: str | None = None
    gate: frozenset[int] = frozenset()


class Value(NamedTuple):
    r"""What is known of a tensor.

    Attributes:
        sources: Nodes that the tensor directly comes from.
        param: The parameter it was computed from, if it was computed from parameters alone.
        gate: Number of elements of the sigmoid-like result it is a view of, else 0.
        attention: Whether it is a softmax that has not met the values of the attention yet.
        open_weight: Whether its source is a matmul's weight that may still get a bias.
    """

    sources: frozenset[int] = frozenset()
    param: str | None = None
    gate: int = 0
    attention: bool = False
    open_weight: bool = False


NOTHING = Value()


class GraphBuilder:
    r"""Collects nodes while the rules go through a trace.

    Args:
        trace (Trace): The recorded forward pass.
    """

    def __init__(self, trace: Trace):
        self.nodes = [Node("input")]
        self.shapes = {name: tuple(t.shape) for name, t in trace.parameters.items()}
        self._values = {id(t): Value(frozenset([INPUT])) for t in trace.inputs}
        self._values |= {id(t): Value(param=name) for name, t in trace.parameters.items()}
        self._named: set[str] = set()

    def value(self, tensor: Any) -> Value:
        return self._values.get(id(tensor), NOTHING)

    def set_value(self, tensor: Tensor, value: Value) -> None:
        self._values[id(tensor)] = value

    def sources(self, *operands: Any) -> frozenset[int]:
        """The nodes that all operands together directly come from."""
        return frozenset().union(*(self.value(t).sources for t in operands))

    def covered_param(self, tensor: Any) -> str | None:
        """The parameter all of whose elements the tensor holds: no index or slice of a table."""
        name = self.value(tensor).param
        return name if name and tensor.numel() == math.prod(self.shapes[name]) else None

    def add(self, op: str, preds: Iterable[int], param: str | None = None, **labels: Any) -> Value:
        """Adds a node and returns the value of the tensor that it makes.

        A parameter is predicted once: the nodes of its later uses bear its shape, not its name.
        """
        if param is not None:
            labels["param_shape"] = self.shapes[param]
            if param not in self._named:
                self._named.add(param)
                labels["param_name"] = param
        self.nodes.append(Node(op, set(preds), **labels))
        return Value(frozenset([len(self.nodes) - 1]))

    def add_layer(self, op: str, preds: set[int], weight: Any, bias: Any = None) -> Value | None:
        """Adds a weight node and, where there is a bias, a bias node behind it."""
        weight, bias = self.value(weight).param, self.value(bias).param
        if weight is None:
            return None
        out = self.add(op, preds, weight)
        return self.add("bias", out.sources, bias) if bias else out

    def passed_on(self, operands: list[Tensor], is_view: bool) -> Value:
        """What an operation without a rule makes: its operands' sources, no node."""
        values = [self.value(t) for t in operands]
        sourced = [v for v in values if v.sources]
        if not sourced:
            names = [v.param for v in values if v.param]
            return Value(param=max(names, key=lambda n: math.prod(self.shapes[n]), default=None))
        return Value(
            frozenset().union(*(v.sources for v in sourced)),
            gate=sourced[0].gate if is_view else 0,
            attention=len(sourced) == 1 and sourced[0].attention,
        )
