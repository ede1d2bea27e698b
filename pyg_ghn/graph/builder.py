r"""What the rules work on: the nodes so far, and what is known of each tensor."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from pyg_ghn.graph.nested import storage, tensors
from pyg_ghn.graph.operations import CONCATENATIONS, LOOKUPS, VIEWS
from pyg_ghn.graph.trace import Trace

INPUT = 0  # index of the input node


@dataclass(slots=True)
class Node:
    """A node of the graph that is being built."""

    op: str  # one of PRIMITIVES
    preds: set[int] = field(default_factory=set)  # the nodes that it takes its input from
    param_name: str | None = None  # that it stands for, also where an earlier node does
    param_shape: tuple[int, ...] | None = None  # or a pooling kernel as (1, 1, k, k)
    bias_name: str | None = None  # of a normalization, whose bias has no node of its own
    gate: frozenset[int] = frozenset()  # those of preds that reach a cse as its gate


class Value(NamedTuple):
    r"""What is known of a tensor.

    A tensor computed from parameters alone may be a weight or data: after a layer (the query of a
    learned token, say, or a standardized kernel) it has both ``params`` and ``sources``, and what
    it is used for decides."""

    sources: frozenset[int] = frozenset()  # nodes that the tensor directly comes from
    # The parameters it stands for, if it was computed from parameters alone: the largest, or
    # several that were concatenated; and the others that it was computed from.
    params: tuple[str, ...] = ()
    factors: frozenset[str] = frozenset()
    gathered: bool = False  # whether it holds single entries of a table rather than a parameter
    gate: int = 0  # number of elements of the sigmoid-like result it is a view of
    attention: bool = False  # whether it is a softmax that has not met the attention's values yet
    open_weight: bool = False  # whether its source is a matmul's weight that may still get a bias


NOTHING = Value()


class GraphBuilder:
    """Collects nodes while the rules go through a trace."""

    def __init__(self, trace: Trace):
        self.nodes = [Node("input")]
        self._trace = trace
        self._sharing: dict[int, list[Tensor]] | None = None  # by their storage
        self.shapes = {name: tuple(t.shape) for name, t in trace.parameters.items()}
        self._values = {id(t): Value(frozenset([INPUT])) for t in trace.inputs}
        self._values |= {id(t): Value(params=(name,)) for name, t in trace.parameters.items()}

    def value(self, tensor: Any) -> Value:
        return self._values.get(id(tensor), NOTHING)

    def set_value(self, tensor: Tensor, value: Value) -> None:
        self._values[id(tensor)] = value

    def write_through(self, tensor: Tensor, value: Value) -> None:
        """What is written into a tensor is also in all views that share its memory, older ones
        and what it is itself a view of included."""
        if self._sharing is None:
            made = (t for call in self._trace.calls for t in tensors(call.out))
            known = *self._trace.inputs, *self._trace.parameters.values(), *made
            self._sharing = {}
            for other in {id(t): t for t in known}.values():
                self._sharing.setdefault(storage(other), []).append(other)
        key = storage(tensor)
        if key is None:
            return
        is_whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        is_data = value.sources and not value.params
        for other in self._sharing.get(key, ()):
            if other is not tensor and _overlap(tensor, other):
                before = self.value(other)
                sources = value.sources if is_whole else before.sources | value.sources
                after = Value(sources) if is_data else before._replace(sources=sources)
                self.set_value(other, after)

    def sources(self, *operands: Any) -> frozenset[int]:
        """The nodes that all operands together directly come from."""
        found = [s for t in operands if (s := self.value(t).sources)]
        return found[0] if len(found) == 1 else frozenset().union(*found)

    def add(self, op: str, preds: Iterable[int], param: str | None = None, **labels: Any) -> Value:
        """Adds a node and returns the value of the tensor that it makes."""
        if param is not None:
            labels["param_name"], labels["param_shape"] = param, self.shapes[param]
        self.nodes.append(Node(op, set(preds), **labels))
        return Value(frozenset([len(self.nodes) - 1]))

    def add_layer(
        self, op: str, preds: frozenset[int], weight: Any, bias: Any = None
    ) -> Value | None:
        """Adds a weight node and, where there is a bias, a bias node behind it."""
        if not self.value(weight).params and not self.value(bias).params:
            return None
        return Value(self.add_each("bias", self.add_each(op, preds, weight), bias))

    def add_each(self, op: str, preds: frozenset[int], weight: Any) -> frozenset[int]:
        """Adds a node for each parameter that a weight stands for: concatenated ones are side by
        side. A weight that is no parameter leads to what it was computed from."""
        value = self.value(weight)
        if not value.params:
            return preds | value.sources
        return frozenset([i for name in value.params for i in self.add(op, preds, name).sources])

    def passed_on(self, operands: list[Tensor], name: str) -> Value:
        """What an operation without a rule makes: its operands' sources, no node."""
        values = [v for t in operands if (v := self.value(t)).sources or v.params]
        if not values:
            return NOTHING
        sources = values[0].sources.union(*[v.sources for v in values[1:]])
        if not all([v.params for v in values]):
            first, *others = (v for v in values if v.sources)
            attention = first.attention and not others
            if name not in VIEWS:
                return Value(sources, attention=attention)
            open_weight = first.open_weight and not others
            return Value(sources, gate=first.gate, attention=attention, open_weight=open_weight)
        # Computed from parameters alone: it stands for the largest of them.
        sizes = [sum(math.prod(self.shapes[name]) for name in v.params) for v in values]
        params = values[sizes.index(max(sizes))].params
        if name in CONCATENATIONS:
            params = tuple(dict.fromkeys(param for v in values for param in v.params))
        origins = frozenset().union(*(v.factors.union(v.params) for v in values))
        gathered = any(v.gathered for v in values) or (
            # One number picks a part, a kernel of several for example.
            name in LOOKUPS and any(t.dim() and self.value(t) == NOTHING for t in operands)
        )
        return Value(sources, params, origins.difference(params), gathered)


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one storage have an element in common."""
    try:
        return np.shares_memory(*map(_memory, (a, b)), max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def _memory(tensor: Tensor) -> np.ndarray:
    """An array in the same place of an imagined storage, never to be read."""
    size = tensor.element_size()
    interface = {
        "version": 3,
        "typestr": f"|V{size}",
        "shape": tuple(tensor.shape),
        "strides": tuple(size * n for n in tensor.stride()),
        "data": (2**32 + size * tensor.storage_offset(), True),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))
