r"""One forward pass of a module on the meta device, every tensor operation recorded."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.shapes import SHAPE_ONLY, to_meta

# Factories that models call without naming a device; their results must live beside the inputs.
FACTORIES = frozenset(
    "arange empty eye full linspace logspace ones rand randint randn randperm zeros".split()
)


class Call(NamedTuple):
    """A recorded operation: its normalized name, its arguments and what it returned."""

    name: str
    args: tuple
    kwargs: dict[str, Any]
    out: Any


@dataclass
class Trace:
    """What one forward pass did.

    Attributes:
        calls: The operations in the order they ran. They keep every tensor alive, so that
            ``id(tensor)`` identifies a tensor throughout.
        inputs: The input tensors.
        output: What the model returned.
        parameters: Every parameter's name and the tensor that stood for it.
    """

    calls: list[Call]
    inputs: list[Tensor]
    output: Any
    parameters: dict[str, Tensor]


def trace(model: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None) -> Trace:
    r"""Records the operations of ``model(*args, **kwargs)``.

    The pass runs on the meta device: no arithmetic, no memory, whatever the size of the model.
    Where the model asks for values (``.item()``, data-dependent shapes) a real pass on the model's
    own device is recorded instead. Either way the model is left exactly as it was.

    Args:
        model (torch.nn.Module): The model, on any device, traced in the mode (train or eval) it is
            in.
        args (tuple): Positional inputs of the model's ``forward``.
        kwargs (dict, optional): Named inputs. (default: :obj:`None`)

    Raises:
        GraphError: If the forward pass fails, naming the module in which it failed.
    """
    kwargs = kwargs or {}
    try:
        return _record(model, args, kwargs, on_meta=True)
    except Exception as meta_error:  # whatever user code raises: it decides if a real pass is due
        if any(p.is_meta for p in model.parameters()):
            raise _explain(model, meta_error) from meta_error
        try:
            return _record(model, args, kwargs, on_meta=False)
        except Exception as error:
            raise _explain(model, error) from error


def tensors(*values: Any) -> Iterator[Tensor]:
    """Yields all tensors in nested lists, tuples, mappings and dataclass-like outputs."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple, set)):
            yield from tensors(*value)
        elif isinstance(value, dict):
            yield from tensors(*value.values())
        elif hasattr(value, "__dataclass_fields__"):
            yield from tensors(*vars(value).values())


class _Recorder(TorchFunctionMode):
    def __init__(self, on_meta: bool):
        super().__init__()
        self.calls: list[Call] = []
        self.on_meta = on_meta

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        out = self._run_on_meta(name, func, args, kwargs) if self.on_meta else func(*args, **kwargs)
        name = _normalized(name)
        if name == "setitem":
            self.calls.append(Call(name, args, kwargs, args[0]))
        elif next(tensors(out), None) is not None:
            self.calls.append(Call(name, args, kwargs, out))
        return out

    def _run_on_meta(self, name: str, func: Callable, args: tuple, kwargs: dict) -> Any:
        if name in FACTORIES and kwargs.get("device") is None:
            return func(*args, **{**kwargs, "device": "meta"})
        out = SHAPE_ONLY[name](*args, **kwargs) if name in SHAPE_ONLY else NotImplemented
        if out is not NotImplemented:
            return out
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            if all(t.is_meta for t in tensors(args, kwargs)):
                raise
            device = torch.device("meta")  # constants that the model made or kept elsewhere
            return func(*_moved(args, device), **_moved(kwargs, device))


def _normalized(name: str) -> str:
    """``add_``, ``__iadd__`` and ``__radd__`` are all ``add``."""
    if name.startswith("__"):
        name = name.strip("_")
        return name[1:] if name in _PREFIXED_DUNDERS else name
    return name.rstrip("_")


_PREFIXED_DUNDERS = frozenset(
    prefix + name
    for name in "add sub mul truediv floordiv div mod pow matmul and or xor".split()
    for prefix in "ir"
)


def _record(model: nn.Module, args: tuple, kwargs: dict, on_meta: bool) -> Trace:
    first = next(model.parameters(), None)
    device = torch.device("meta") if on_meta or first is None else first.device
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_preserved_rng(device))
        stack.enter_context(_stand_ins(model, on_meta))
        parameters = dict(model.named_parameters())
        args, kwargs = _moved(args, device), _moved(kwargs, device)
        recorder = stack.enter_context(_Recorder(on_meta))
        output = model(*args, **kwargs)
    return Trace(recorder.calls, list(tensors(args, kwargs)), output, parameters)


@contextmanager
def _stand_ins(model: nn.Module, on_meta: bool) -> Iterator[None]:
    """Swaps all tensors of the modules and puts everything back, whatever happens.

    On meta every parameter, buffer and plain tensor attribute gets a meta tensor, in a real pass a
    copy: neither running statistics nor weights may move.
    """
    memo: dict[int, Tensor] = {}

    def swap(tensor: Tensor) -> Tensor:
        if id(tensor) not in memo:
            if nn.parameter.is_lazy(tensor):
                raise GraphError(
                    "The model holds an uninitialized lazy parameter: run one batch through it "
                    "first, so that its shapes are known."
                )
            data = tensor.detach()
            memo[id(tensor)] = to_meta(data) if on_meta else data.clone()
        return memo[id(tensor)]

    def swap_attribute(value: Any) -> Any:
        if isinstance(value, Tensor):
            return swap(value)
        if type(value) in (list, tuple) and value and isinstance(value[0], Tensor):
            return type(value)(swap(v) if isinstance(v, Tensor) else v for v in value)
        return value

    saved = [_Saved(module) for module in model.modules()]
    try:
        for state in saved:
            module = state.module
            for name, value in state.attributes.items():
                module.__dict__[name] = swap_attribute(value)
            for name, tensor in state.parameters.items():
                module._parameters[name] = tensor if tensor is None else swap(tensor)
            for name, tensor in state.buffers.items():
                module._buffers[name] = tensor if tensor is None else swap(tensor)
        yield
    finally:
        for state in saved:
            state.restore()


class _Saved:
    """What a forward pass may change of a module."""

    def __init__(self, module: nn.Module):
        if isinstance(module, torch.jit.ScriptModule):
            raise GraphError(
                f"The model holds the scripted module {module.original_name}, whose operations "
                "can't be recorded: build it without torch.jit.script."
            )
        self.module = module
        self.attributes = module.__dict__.copy()
        self.parameters = module._parameters.copy()
        self.buffers = module._buffers.copy()
        self.children = module._modules.copy()

    def restore(self) -> None:
        module = self.module
        module.__dict__.clear()
        module.__dict__.update(self.attributes)
        for store, original in (
            (module._parameters, self.parameters),
            (module._buffers, self.buffers),
            (module._modules, self.children),
        ):
            store.clear()
            store.update(original)


@contextmanager
def _preserved_rng(device: torch.device) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _moved(value: Any, device: torch.device) -> Any:
    """Fresh copies of tensors: a model that works in place must not change the caller's."""
    if isinstance(value, Tensor):
        if device.type == "meta":
            return value if value.is_meta else to_meta(value)
        return torch.zeros_like(value, device=device) if value.is_meta else value.to(device).clone()
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_moved(v, device) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _explain(model: nn.Module, error: Exception) -> GraphError:
    """Names the innermost module on the stack of a failed forward pass."""
    if isinstance(error, GraphError):
        return error
    names = {id(module): name for name, module in model.named_modules()}
    culprit = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            culprit = f" in module '{names[id(owner)] or 'model'}' ({type(owner).__name__})"
    return GraphError(
        f"The forward pass of {type(model).__name__} failed{culprit}: "
        f"{type(error).__name__}: {error}. Check input_size (or pass example_inputs) and that the "
        "model runs on a batch of two."
    )
