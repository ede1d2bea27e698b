r"""Parameters of a model that are the same tensor, or share memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor, nn


class Distinct(NamedTuple):
    r"""A parameter under all of its names."""

    param: nn.Parameter
    names: tuple[str, ...]
    memory: int  # equal for parameters that overlap


def distinct_parameters(model: nn.Module) -> list[Distinct]:
    r"""The parameters of a model in its order, each of them once: tied ones, and those that are the
    same view of the same memory, are one parameter."""
    found: dict[Hashable, tuple[nn.Parameter, list[str]]] = {}
    for name, param in model.named_parameters(remove_duplicate=False):
        found.setdefault(_view(param), (param, []))[1].append(name)
    memory = _memory([param for param, _ in found.values()])
    return [Distinct(p, tuple(names), memory[i]) for i, (p, names) in enumerate(found.values())]


def _memory(params: list[nn.Parameter]) -> list[int]:
    """For each parameter the first one in memory of those that it is entangled with."""
    memory, first, end = list(range(len(params))), -1, 0
    for start, stop, index in sorted((*_span(p), i) for i, p in enumerate(params) if _is_dense(p)):
        if start >= end:
            first = index
        memory[index], end = first, max(end, stop)
    return memory


def _view(param: Tensor) -> Hashable:
    if _address(param) is None:
        return id(param)
    return param.device, _address(param), tuple(param.shape), param.stride(), param.dtype


def _address(param: Tensor) -> int | None:
    if param.is_meta or not param.numel():
        return None
    try:
        return param.data_ptr()
    except RuntimeError:  # a subclass that is made of several tensors
        return None


def _span(param: Tensor) -> tuple[int, int]:
    start = param.data_ptr()
    return start, start + param.numel() * param.element_size()


def _is_dense(param: Tensor) -> bool:
    """Whether it fills its memory without gaps, so that two that meet do share elements."""
    steps = zip(param.shape, param.stride(), strict=True)
    return _address(param) is not None and param.numel() == sum((n - 1) * s for n, s in steps) + 1
