r"""One forward pass of a module on the meta device, every tensor operation recorded."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch_geometric.data.data import BaseData

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.meta_operations import SHAPE_ONLY
from pyg_ghn.graph.stand_ins import moved, preserved_rng, stand_ins

# Factories that models call without naming a device; their results must live beside the inputs.
FACTORIES = frozenset(
    "arange empty eye full linspace logspace ones rand randint randn randperm zeros".split()
)

# torch.batch_norm and torch.nn.functional.batch_norm take their arguments in different orders.
TWOFOLD = frozenset("batch_norm instance_norm embedding embedding_bag".split())


class Call(NamedTuple):
    """A recorded operation: its normalized name, its arguments and what it returned."""

    name: str
    args: tuple
    kwargs: dict[str, Any]
    out: Any


class Trace(NamedTuple):
    """What one forward pass did.

    Attributes:
        calls: The operations in the order they ran. They keep every tensor alive, so that
            ``id(tensor)`` identifies a tensor throughout.
        inputs: The input tensors.
        outputs: The tensors that the model returned.
        parameters: Every parameter's name and the tensor that stood for it.
    """

    calls: list[Call]
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Tensor]


def trace(model: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None) -> Trace:
    r"""Records the operations of ``model(*args, **kwargs)``.

    The pass runs on the meta device: no arithmetic, no memory, whatever the size of the model.
    Where the model asks for values (``.item()``, data-dependent shapes) a real pass is recorded
    instead, on the model's own device or, if it is on meta itself, with zeros on the CPU. Either
    way the model is left exactly as it was.

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
        return _record(model, args, kwargs, torch.device("meta"))
    except GraphError:
        raise
    except Exception as error:  # whatever user code raises on meta: a real pass decides
        if any(p.is_meta for p in model.parameters()) and not (
            # An operation failed for lack of values; torch has no one type of error for it.
            isinstance(error, NotImplementedError) or "meta" in str(error).lower()
        ):
            raise _explained(model, args, kwargs, error) from error
    real = (p.device for p in model.parameters() if not p.is_meta)
    try:
        return _record(model, args, kwargs, next(real, torch.device("cpu")))
    except Exception as error:
        raise _explained(model, args, kwargs, error) from error


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
        name = _normalized(name, func)
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
            return func(*moved(args, device), **moved(kwargs, device))


def _normalized(name: str, func: Callable) -> str:
    """``add_``, ``__iadd__``, ``__radd__`` and ``add.Tensor`` are all ``add``; of functions that
    exist twice the native ones get a name of their own."""
    if name.startswith("__"):
        name = name.strip("_")
        return name[1:] if name in _PREFIXED_DUNDERS else name
    name = name.partition(".")[0].rstrip("_")
    is_native = name in TWOFOLD and not isinstance(func, FunctionType)
    return f"native {name}" if is_native else name


_PREFIXED_DUNDERS = frozenset(
    prefix + name
    for name in "add sub mul truediv floordiv div mod pow matmul and or xor".split()
    for prefix in "ir"
)


def _record(model: nn.Module, args: tuple, kwargs: dict, device: torch.device) -> Trace:
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(preserved_rng(device))
        stack.enter_context(stand_ins(model, device))
        if "torch._dynamo" in sys.modules:  # something may be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        parameters = dict(model.named_parameters())
        if device.type == "cpu":
            stack.enter_context(device)  # within torch.device("meta") as well
        args, kwargs = moved(args, device), moved(kwargs, device)
        recorder = stack.enter_context(_Recorder(on_meta=device.type == "meta"))
        while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module  # which runs on one device
        output = model(*args, **kwargs)
    return Trace(recorder.calls, _all_tensors(args, kwargs), _all_tensors(output), parameters)


def _all_tensors(*values: Any) -> list[Tensor]:
    """The tensors of inputs or outputs, which may also be graphs or other objects."""
    found = []
    for value in values:
        if isinstance(value, BaseData):
            value = value.to_dict()
        if isinstance(value, (list, tuple, dict)):
            found += _all_tensors(*(value.values() if isinstance(value, dict) else value))
        else:
            found += list(tensors(value)) or list(tensors(getattr(value, "__dict__", None)))
    return found


def _explained(
    model: nn.Module, args: tuple, kwargs: dict[str, Any], error: Exception
) -> GraphError:
    """Names the innermost module on the stack of a failed forward pass and the way out."""
    if isinstance(error, GraphError):
        return error
    names = {id(module): name for name, module in model.named_modules()}
    culprit, where = model, ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            culprit = owner
            where = f" in module '{names[id(owner)] or 'model'}' ({type(owner).__name__})"
    given = [
        f"a {str(v.dtype).removeprefix('torch.')} tensor of shape {tuple(v.shape)}"
        if isinstance(v, Tensor)
        else f"a {type(v).__name__}"
        for v in (*args, *kwargs.values())
    ]
    required = [
        f"'{p.name}'"
        for p in inspect.signature(model.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > len(given):
        advice = f"Its forward needs {', '.join(required)}: pass them as example_inputs, with a "
        advice += "batch dimension."
    elif isinstance(culprit, (nn.Embedding, nn.EmbeddingBag)):
        advice = "It looks up integers, token ids for example: pass them as example_inputs."
    else:
        advice = "Check input_size (or example_inputs) and that the model runs on a batch of two."
    return GraphError(
        f"The forward pass of {type(model).__name__} on {', '.join(given) or 'no input'} failed"
        f"{where}: {type(error).__name__}: {error}. {advice}"
    )
