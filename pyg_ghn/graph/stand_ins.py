r"""Tensors that stand in for those of a model while it is traced, so that it stays as it was."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data.data import BaseData

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.meta_operations import to_meta

CONTAINERS = frozenset({dict, OrderedDict, list, set})  # what a forward pass may fill


@contextmanager
def stand_ins(model: nn.Module, device: torch.device) -> Iterator[None]:
    r"""Swaps all tensors of a model's modules and puts everything back, whatever happens.

    Every parameter, buffer and plain tensor attribute gets a copy on the device: an empty one on
    meta, zeros for what is itself on meta. Neither running statistics nor weights may move.
    """
    memo: dict[int, Tensor] = {}

    def swap(tensor: Tensor) -> Tensor:
        if id(tensor) not in memo:
            if nn.parameter.is_lazy(tensor):
                raise GraphError(
                    "The model holds an uninitialized lazy parameter: run one batch through it "
                    "first, so that its shapes are known."
                )
            memo[id(tensor)] = _copied(tensor.detach(), device)
        return memo[id(tensor)]

    saved = []
    try:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise GraphError(
                    f"The model holds the scripted module {module.original_name}, whose operations "
                    "can't be recorded: build it without torch.jit.script."
                )
            attributes = module.__dict__.copy()
            contents = [(v, v.copy()) for v in attributes.values() if type(v) in CONTAINERS]
            saved.append((module.__dict__, attributes, contents))
            _swap_tensors(module.__dict__, swap)
        yield
    finally:
        for live, attributes, contents in saved:
            live.clear()
            live.update(attributes)
            for container, content in contents:
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(content)


def _swap_tensors(attributes: dict[str, Any], swap: Callable[[Tensor], Tensor]) -> None:
    for name, value in attributes.items():
        if isinstance(value, Tensor):
            attributes[name] = swap(value)
        elif type(value) in (list, tuple) and value and isinstance(value[0], Tensor):
            items = (swap(v) if isinstance(v, Tensor) else v for v in value)
            attributes[name] = type(value)(items)
    for store in (attributes["_parameters"], attributes["_buffers"]):
        for name, tensor in store.items():
            if tensor is not None:
                store[name] = swap(tensor)


def moved(value: Any, device: torch.device) -> Any:
    r"""Copies of the tensors of nested inputs on a device: a model that works in place must not
    change the caller's. Zeros stand in for values that meta tensors lack.
    """
    if isinstance(value, Tensor):
        if device.type == "meta":
            return value if value.is_meta else to_meta(value)
        return _copied(value, device).to(device)
    if isinstance(value, dict):
        return {k: moved(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [moved(v, device) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, BaseData):
        return copy.copy(value).apply(lambda tensor: moved(tensor, device))
    return value


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "meta":
        return to_meta(tensor)
    if tensor.is_meta:
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    return tensor.clone()


@contextmanager
def preserved_rng(device: torch.device) -> Iterator[None]:
    r"""Leaves the random number generators as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
