r"""What the dispatcher sees of a forward pass, below the functions that a model calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_ghn.graph.nested import storage, tensors


class Flow(NamedTuple):
    """An operation as the dispatcher saw it: below the functions that a model calls."""

    func: Callable
    operands: list[Tensor]
    outs: list[Tensor]


class OwnRandom(TorchDispatchMode):
    """Draws random numbers from generators of its own: process-wide ones stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        operand = next(iter(tensors(args, kwargs)), None)
        device = torch.device(kwargs.get("device") or "cpu") if operand is None else operand.device
        if device.type == "meta":
            return func(*args, **{k: v for k, v in kwargs.items() if k != "generator"})
        if kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
        own = {**kwargs, "generator": self._generators[device]}
        for name in (func._overloadname, "generator", f"{func._overloadname}_generator"):
            overload = getattr(func.overloadpacket, name, None)
            if overload and any(a.name == "generator" for a in overload._schema.arguments):
                return overload(*args, **own)
        if func.overloadpacket is torch.ops.aten.native_dropout:
            kept = torch.empty_like(args[0]).bernoulli_(1 - args[1], generator=own["generator"])
            return args[0] * kept / max(1 - args[1], 1e-6), kept.bool()
        # Attention and recurrent layers draw for nothing but their dropout.
        names = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return func(**given | {k: 0.0 for k in ("dropout_p", "dropout") if k in given})


class Below(OwnRandom):
    r"""Sees what functions come down to."""

    def __init__(self) -> None:
        super().__init__()
        self.flows: list[Flow] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        changed = written("", func, args, kwargs or {}) if func._schema.is_mutable else None
        self.see(func, (args, kwargs), (out, changed))
        return out

    def made(self, tensor: Tensor) -> bool:
        """Whether the dispatcher saw the tensor, or what it is a view of, come into being."""
        key, flows = storage(tensor), reversed(self.flows)
        return key is None or any(storage(t) == key for flow in flows for t in flow.outs)

    def see(self, func: Callable, operands: Any, out: Any) -> None:
        self.flows.append(Flow(func, tensors(operands), tensors(out)))


def written(name: str, func: Callable, args: tuple, kwargs: dict) -> Any:
    r"""What a function that returns nothing writes into."""
    is_data = name == "__set__" and func.__self__ is Tensor.data
    if args and (is_data or is_in_place(name)):
        return args[0]
    schema = getattr(getattr(func, "default", func), "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    names = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
    given = {**dict(zip([a.name for a in schema.arguments], args, strict=False)), **kwargs}
    return [given[name] for name in names if name in given]


def is_in_place(name: str) -> bool:
    r"""Whether the name of a function says that it changes its first argument."""
    is_dunder = name.startswith("__")
    name = name.partition(".")[0]
    return (name.endswith("_") and not is_dunder) or name == "__setitem__" or name.startswith("__i")
