r"""A structural copy of a model to trace, so that the model itself is only ever read."""

import copy
import enum
import functools
import io
import random
import sys
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pickle import PicklingError
from types import BuiltinMethodType, CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.meta_operations import to_meta
from pyg_ghn.graph.nested import ATOMS, place, placed, slots, storage

RANDOM = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
RANDOM += (np.random.SeedSequence,)
STATE = (Tensor, nn.Module, dict, list, set, deque, Iterator, torch.Generator, *RANDOM)
# Their objects hold locks, files, processes or graphs of code rather than tensors to compute with.
OPAQUE = sys.stdlib_module_names | {"torch"}
TRANSPARENT = ("argparse", "collections", "queue", "torch.quasirandom", "types")


class StandIns:
    """Copies modules, containers, closures and plain objects, and puts a stand-in for each tensor.

    What is reached twice is copied once: shared modules, tied parameters and cycles stay so, and so
    do views of a parameter or buffer that a model keeps. A tensor's stand-in is empty on meta, else
    a clone, with zeros for what has no values. The copy is going to run on ``device``; the model
    lives at ``home``, the CPU if it has no values."""

    def __init__(self, device: torch.device, home: torch.device):
        self.device, self.home = device, home
        self.on_meta = device.type == "meta"
        self.moves = False  # tensors to the device; the model's own may lie on several
        self.originals: list[Any] = []  # kept alive, so that ids stay theirs
        self.tensors: list[tuple[Tensor, Tensor]] = []  # and their stand-ins
        self.views: list[tuple[Tensor, Tensor]] = []  # of some of them, and theirs
        self._whole: dict[int | None, tuple[Tensor, Tensor]] = {}  # by what they are stored in
        self._copies: dict[int, Any] = {}
        self._copiers: dict[type, Callable[[Any], Any]] = {}

    def get(self, value: Any) -> Any:
        """The copy that was made of something, if it was."""
        return self._copies.get(id(value))

    def add(self, original: Any, stand_in: Any) -> Any:
        self.originals.append(original)
        self._copies[id(original)] = stand_in
        return stand_in

    def copy(self, value: Any) -> Any:
        r"""The copy of a model, of its inputs or of anything that they hold."""
        kind = type(value)
        if kind in ATOMS:
            return value
        found = self._copies.get(id(value))
        if found is not None:
            return found
        copier = self._copiers.get(kind)
        if copier is None:
            copier = self._copiers[kind] = self._copier(kind)
        return copier(value)

    def tensor(self, tensor: Tensor) -> Tensor:
        r"""The stand-in for a tensor."""
        if nn.parameter.is_lazy(tensor):
            raise GraphError(
                "The model holds an uninitialized lazy parameter: run one batch through it first, "
                "so that its shapes are known."
            )
        found = self._copies.get(id(tensor))
        if found is not None:
            return found
        view = None if isinstance(tensor, nn.Parameter) else self._view(tensor)
        if view is not None:
            stand_in = view.requires_grad_(tensor.requires_grad)
        elif self.on_meta:
            stand_in = to_meta(tensor, tensor.requires_grad)
        else:
            if tensor.is_meta:
                stand_in = torch.zeros(tensor.shape, dtype=tensor.dtype, device=self.device)
            else:
                stand_in = tensor.detach().clone()
                stand_in = stand_in.to(self.device) if self.moves else stand_in
            stand_in.requires_grad_(tensor.requires_grad)
        kind = type(tensor)
        if kind is nn.Parameter or (kind is not Tensor and isinstance(tensor, nn.Parameter)):
            stand_in.__class__ = nn.Parameter  # without a second tensor
        if view is None:
            self._whole.setdefault(storage(tensor), (tensor, stand_in))
        (self.tensors if view is None else self.views).append((tensor, stand_in))
        return self._attributes(tensor, self.add(tensor, stand_in))

    def _view(self, tensor: Tensor) -> Tensor | None:
        """The same part of the stand-in for all that a tensor is a part of."""
        key = storage(tensor)
        whole, stand_in = self._whole.get(key, (None, None))
        same = whole is not None and place(whole) == place(stand_in) and whole.dtype == tensor.dtype
        if key is None or not same:
            return None
        is_whole = stand_in.untyped_storage().nbytes() == whole.untyped_storage().nbytes()
        return placed(place(tensor), stand_in) if is_whole else None

    def forget(self) -> None:
        r"""Empties all copies, so that nothing in them keeps a tensor alive."""
        for value in self._copies.values():
            if isinstance(value, (dict, list, set, deque)):
                value.clear()
            elif not isinstance(value, Tensor) and hasattr(value, "__dict__"):
                vars(value).clear()
        self._copies.clear()
        self.originals.clear()
        self.tensors.clear()
        self.views.clear()
        self._whole.clear()
        self._copiers.clear()  # methods of this object, a circle that memory would stay behind

    def _copier(self, kind: type) -> Callable[[Any], Any]:
        for base, copier in (
            (Tensor, self.tensor),
            (torch.jit.ScriptModule, _refuse),
            (nn.Module, self._module),
            (dict, self._dict),
            (tuple, self._tuple),
            ((list, set, deque), self._collection),
            (frozenset, lambda value: kind(map(self.copy, value))),
            (FunctionType, self._function),
            (MethodType, lambda m: MethodType(self.copy(m.__func__), self.copy(m.__self__))),
            (BuiltinMethodType, self._builtin),
            (
                functools.partial,
                lambda p: self.add(
                    p, kind(*map(self.copy, (p.func, *p.args)), **self.copy(p.keywords))
                ),
            ),
            (functools._lru_cache_wrapper, self._cached),
            (weakref.ref, self._reference),
            (torch.Generator, lambda value: self.add(value, value.clone_state())),
            (random.SystemRandom, lambda value: value),
            ((*RANDOM, array, bytearray), lambda value: self.add(value, copy.deepcopy(value))),
            (np.ndarray, self._array),
            (SimpleNamespace, self._object),
        ):
            if issubclass(kind, base):
                return copier
        root = kind.__module__.partition(".")[0]
        opaque = root in OPAQUE and not kind.__module__.startswith(TRANSPARENT)
        if opaque and issubclass(kind, Iterator) and not issubclass(kind, io.IOBase):
            return self._iterator
        if opaque or issubclass(kind, (type, enum.Enum)) or hasattr(kind, "__del__"):
            return lambda value: value
        return self._object

    def _module(self, module: nn.Module) -> nn.Module:
        dynamo = sys.modules.get("torch._dynamo")
        if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
            return self.add(module, self.copy(module._orig_mod))
        twin = self._object(module)
        twin.__dict__.pop("_compiled_call_impl", None)
        return twin

    def _object(self, value: Any) -> Any:
        """An object of the same class with copies of its attributes."""
        kind, attributes = type(value), getattr(value, "__dict__", {})
        shared, names = _class_state(kind)
        if not (attributes or shared or names) and _is_mark(value):
            return value
        try:
            twin = object.__new__(kind)
        except TypeError:  # the class is written in C
            if isinstance(value, Iterator):
                return self._iterator(value)
            if not isinstance(value, SimpleNamespace):
                return value
            twin = kind()
        self.add(value, twin)
        made = attributes.copy()
        for name, item in made.items():  # most of them need no copy
            kind_of_item = type(item)
            if kind_of_item not in ATOMS:
                is_empty = kind_of_item is OrderedDict and not item  # what holds no hooks
                made[name] = OrderedDict() if is_empty else self.copy(item)
        for name in shared:
            if name not in made:
                made[name] = self.copy(getattr(kind, name))
        if made:
            twin.__dict__.update(made)
        for name in names:
            if hasattr(value, name):
                object.__setattr__(twin, name, self.copy(getattr(value, name)))
        return twin

    def _dict(self, value: dict) -> dict:
        is_plain = type(value) is dict
        twin = self.add(value, {} if is_plain else copy.copy(value))
        if not is_plain:
            dict.clear(twin)
        for key, item in value.items():
            key = key if type(key) in ATOMS else self.copy(key)
            dict.__setitem__(twin, key, item if type(item) in ATOMS else self.copy(item))
        return twin if is_plain else self._attributes(value, twin)

    def _collection(self, value: list | set | deque) -> Any:
        twin = self.add(value, value.copy() if type(value) in (list, set) else copy.copy(value))
        if not ATOMS.issuperset(map(type, value)):
            items = [self.copy(item) for item in value]
            twin.clear()
            (twin.update if isinstance(value, set) else twin.extend)(items)
        return self._attributes(value, twin)

    def _tuple(self, value: tuple) -> tuple:
        if ATOMS.issuperset(map(type, value)):
            return value
        items = [self.copy(item) for item in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        try:
            twin = tuple.__new__(type(value), items)
        except TypeError:  # what operations of torch return
            twin = type(value)(items)
        return self._attributes(value, self.add(value, twin))

    def _attributes(self, value: Any, twin: Any) -> Any:
        if attributes := getattr(value, "__dict__", None):
            twin.__dict__.update({k: self.copy(v) for k, v in attributes.items()})
        return twin

    def _function(self, function: FunctionType) -> Callable:
        if compiled := getattr(function, "_torchdynamo_orig_callable", None):
            return self.copy(compiled)
        if not (function.__closure__ or function.__defaults__):
            return function
        cells = tuple(CellType() for _ in function.__closure__ or ())
        defaults = self.copy(function.__defaults__)
        arguments = function.__code__, function.__globals__, function.__name__, defaults, cells
        twin = self.add(function, FunctionType(*arguments))
        twin.__kwdefaults__ = self.copy(function.__kwdefaults__)
        twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
        twin.__dict__.update(function.__dict__)
        for cell, new in zip(function.__closure__ or (), cells, strict=True):
            try:
                new.cell_contents = self.copy(cell.cell_contents)
            except ValueError:  # a variable that is not set yet
                continue
        return twin

    def _builtin(self, method: BuiltinMethodType) -> Callable:
        if not isinstance(method.__self__, RANDOM):  # what tells others, who want to hear of it
            return method
        return self.add(method, getattr(self.copy(method.__self__), method.__name__))

    def _array(self, value: np.ndarray) -> np.ndarray:
        holds_objects = value.dtype == object and value.ndim > 0
        twin = np.frompyfunc(self.copy, 1, 1)(value) if holds_objects else value.copy()
        return self.add(value, twin)

    def _cached(self, value: Any) -> Any:
        function = self.copy(value.__wrapped__)
        if function is value.__wrapped__:
            return value
        return self.add(value, functools.lru_cache(**value.cache_parameters())(function))

    def _reference(self, value: weakref.ref) -> weakref.ref:
        target = value()
        is_copied = isinstance(target, (Tensor, nn.Module)) or self.get(target) is not None
        return weakref.ref(self.copy(target)) if is_copied else value

    def _iterator(self, value: Iterator) -> Iterator:
        try:
            function, arguments, *state = value.__reduce__()
            twin = function(*map(self.copy, arguments))
            for part in state:
                twin.__setstate__(self.copy(part))
        except (AttributeError, PicklingError, RuntimeError, TypeError, ValueError):
            twin = _Unread(type(value).__name__)
        return self.add(value, twin)


class _Unread:
    """Stands for an iterator that can't be copied: to read on would advance the model's own."""

    def __init__(self, kind: str):
        self._kind = kind

    def __getattr__(self, name: str = "") -> None:
        raise GraphError(
            f"The forward pass reads on from a {vars(self).get('_kind')} that it holds, which "
            "tracing would advance: let the model hold a list, or an iterator that can be pickled."
        )

    __iter__ = __next__ = __getattr__


def _refuse(module: torch.jit.ScriptModule) -> None:
    raise GraphError(
        f"The model holds the scripted module {module.original_name}, whose operations can't be "
        "recorded: build it without torch.jit.script."
    )


@functools.lru_cache(maxsize=4096)
def _class_state(kind: type) -> tuple[list[str], list[str]]:
    """The attributes of a class that a forward pass may change, and the slots of its objects."""
    shared = {}
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("torch", "builtins"):
            continue
        for name, value in vars(base).items():
            state = isinstance(value, STATE)
            shared.setdefault(name, state and not name.startswith("__"))
    return [name for name, is_state in shared.items() if is_state], slots(kind)


def _is_mark(value: Any) -> bool:
    """Whether an object without state, which may be compared by identity, can't get any or is a
    global of the module that its class is written in."""
    names = vars(sys.modules.get(type(value).__module__, object))
    return not hasattr(value, "__dict__") or any(v is value for v in list(names.values()))
