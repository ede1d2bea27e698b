r"""Tensors in nested arguments, results and objects."""

import functools
from collections import deque
from collections.abc import Callable, Mapping, MappingView
from types import FunctionType, GeneratorType
from typing import Any

import torch
from torch import Tensor, nn

ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), type, torch.Size})
ATOMS |= {torch.dtype, torch.device, torch.layout, torch.memory_format}
COLLECTIONS = (list, tuple, set, frozenset, deque, MappingView, GeneratorType)


def tensors(*values: Any, kind: type = Tensor) -> list[Any]:
    """All tensors in nested lists, tuples, mappings and dataclass-like outputs."""
    found = []
    for value in values:
        of = type(value)
        if of in ATOMS:
            continue
        # The frequent ones first.
        if of is not dict and of is not tuple and isinstance(value, kind):
            found.append(value)
        elif isinstance(value, (list, tuple, set)):
            found += tensors(*value, kind=kind)
        elif isinstance(value, (dict, Mapping)):
            if value:
                found += tensors(*value.values(), kind=kind)
        elif hasattr(value, "__dataclass_fields__"):
            found += tensors(*vars(value).values(), kind=kind)
    return found


def reachable_tensors(*values: Any) -> list[Tensor]:
    r"""All tensors in containers and objects of any kind, modules excepted."""
    found, seen, stack = [], set(), [*reversed(values)]
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif id(value) not in seen and not isinstance(value, (nn.Module, type, FunctionType)):
            seen.add(id(value))
            if isinstance(value, COLLECTIONS):
                stack += reversed(list(value))
            elif isinstance(value, Mapping):
                stack += reversed(list(value.values()))
            elif isinstance(value, functools.partial):
                stack += [value.keywords, value.args, value.func]
            stack += [getattr(value, name, None) for name in slots(type(value))]
            stack += reversed(getattr(value, "__dict__", {}).values())
    return found


@functools.lru_cache(maxsize=4096)
def slots(kind: type) -> list[str]:
    r"""The slots of the objects of a class, by the names under which they are found."""
    found = []
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        for name in [names] if isinstance(names, str) else names:
            is_private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if is_private else name)
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def mapped(function: Callable[[Any], Any], value: Any, kind: Any = Tensor) -> Any:
    r"""Nested arguments with something else for each tensor."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {k: mapped(function, v, kind) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [mapped(function, v, kind) for v in value]
        return tuple(items) if hasattr(type(value), "_fields") else type(value)(items)
    return value


def placed(place: tuple, memory: Tensor) -> Tensor:
    r"""Another view of a tensor's memory."""
    dtype, *where = place
    return memory.detach().view(dtype).as_strided(*where)


def place(tensor: Tensor) -> tuple:
    r"""Where in its memory a tensor lies."""
    return tensor.dtype, tensor.size(), tensor.stride(), tensor.storage_offset()


def storage(tensor: Tensor) -> int | None:
    r"""What tensors that share their memory have in common."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else None
