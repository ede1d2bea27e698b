r"""Sees every tensor operation of a forward pass: as a function, or below it in the dispatcher."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.meta_operations import SHAPE_ONLY
from pyg_ghn.graph.nested import mapped, place, placed, storage, tensors
from pyg_ghn.graph.stand_ins import StandIns

# Factories that models call without naming a device; their results must live beside the inputs.
FACTORIES = frozenset(
    "arange empty eye full linspace logspace ones rand randint randn randperm zeros".split()
)
RANDOM = frozenset(
    """
    rand randint randn randperm rand_like randint_like randn_like bernoulli bernoulli_ binomial
    cauchy_ exponential_ geometric_ log_normal_ multinomial normal normal_ poisson random_ uniform_
    """.split()
)
RECURRENT = frozenset("lstm gru rnn_tanh rnn_relu".split())  # minutes on meta without a short cut
LEAVING = frozenset("numpy __array__ tolist __dlpack__".split())  # the dispatcher sees no such read
COPIED = (Tensor._backward_hooks.__get__, Tensor.__reduce_ex__)  # what copy.copy and pickle ask for
# What they read of a tensor is the same of its stand-in.
READERS = {Tensor.dim, Tensor.numel, Tensor.size, Tensor.stride, Tensor.is_floating_point}
READERS |= {Tensor.shape.__get__, Tensor.ndim.__get__, Tensor.dtype.__get__}


class Call(NamedTuple):
    """A recorded operation: its normalized name, its arguments, what it returned, and itself."""

    name: str
    args: tuple
    kwargs: dict[str, Any]
    out: Any
    func: Callable

    @property
    def operands(self) -> list[Tensor]:
        return tensors(self.args, self.kwargs)


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


class UnrecordedError(Exception):
    r"""A tensor turned up that no recorded function has made."""


class Recorder(TorchFunctionMode):
    r"""Records every function on tensors that runs in this thread. In a thorough pass ``below`` is
    active under this mode, and what no function shows (:func:`torch.vmap`, scripted functions) is
    recorded as the dispatcher sees it. Otherwise it ends in an :class:`UnrecordedError`."""

    def __init__(self, stand_ins: StandIns, below: Below | None = None):
        super().__init__()
        self.calls: list[Call] = []
        self.on_meta = stand_ins.on_meta
        self.stand_ins, self.below = stand_ins, below
        self.elsewhere: list[Tensor] = []  # what neither function nor dispatcher has made
        self.known: set[int] = set()  # ids of the tensors that the pass may use
        self._random = OwnRandom()
        self._transforms = False  # of torch.func, whose tensors may outlive them
        self._storages: dict[int, Tensor] = {}
        self._indexed = 0  # calls of which the tensors are in _storages

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in READERS:
            return func(*args, **kwargs)
        known, given = self.known, tensors(args, kwargs)
        if not known.issuperset(map(id, given)):
            args, kwargs = self.owned(args), self.owned(kwargs)
            given = tensors(args, kwargs)
        name = getattr(func, "__name__", "")
        if isinstance(func, torch._ops.HigherOrderOperator):
            return self._higher_order(name, func, args, kwargs)
        out = self._run(name, func, args, kwargs, given)
        if isinstance(out, Tensor):
            known.add(id(out))
            made = out
        else:
            ids = [id(t) for t in tensors(out)]
            known.update(ids)
            made = out if ids else self.owned(written(name, func, args, kwargs))
            if func in COPIED and (given[0].is_meta or not self.on_meta):
                raise GraphError(
                    f"The model copies a tensor of shape {tuple(given[0].shape)} by copy.copy or "
                    "pickle, which no function shows: copy it by its method clone."
                )
            if name in LEAVING and self.below is not None:
                self.below.see(func, given, ())
        if made is not None:
            name = normalized(name, isinstance(func, FunctionType))
            call = Call(name, args, kwargs, made, func)
            self._transforms |= functorch.peek_interpreter_stack() is not None
            if self._transforms:
                call = Call(name, *mapped(_unwrapped, (args, kwargs, made)), func)
            self.calls.append(call)
        return out

    def forget(self) -> None:
        r"""Drops all tensors of the pass."""
        self.calls.clear()
        self._storages.clear()
        self.stand_ins.forget()

    def owned(self, value: Any) -> Any:
        r"""Nested arguments or results in which each tensor is one that the pass may use."""
        if isinstance(value, Tensor):
            return value if id(value) in self.known else self._resolved(value)
        if type(value) in (list, tuple):
            return type(value)([self.owned(v) for v in value])
        return {k: self.owned(v) for k, v in value.items()} if type(value) is dict else value

    def _resolved(self, tensor: Tensor) -> Tensor:
        """What to take for a tensor that no recorded function has made."""
        stand_in = self.stand_ins.get(tensor)
        if stand_in is not None:  # a tensor of the live model, reached past its copy
            return stand_in
        if functorch.is_functorch_wrapped_tensor(tensor):
            if self.below is None:
                raise UnrecordedError
            return tensor
        self.stand_ins.originals.append(tensor)
        key = storage(tensor)
        if key is not None:
            made = [t for call in self.calls[self._indexed :] for t in tensors(call.out)]
            self._indexed = len(self.calls)
            for known in (*made, *(stand_in for _, stand_in in self.stand_ins.tensors)):
                self._storages.setdefault(storage(known), known)
            base = self._storages.get(key)
            if base is not None:  # as_subclass, nn.Parameter: another view of what is known
                self.known.add(id(tensor))
                again = functools.partial(placed, place(tensor))
                self.calls.append(Call("alias", (base,), {}, tensor, again))
                return tensor
            # What torch has not allocated is NumPy's and comes from no operation.
            if tensor.is_meta or (not self.on_meta and tensor.untyped_storage().resizable()):
                if self.below is None:
                    raise UnrecordedError
                if not self.below.made(tensor):
                    self.elsewhere.append(tensor)
        stand_in = tensor if tensor.is_meta and self.on_meta else self.stand_ins.tensor(tensor)
        self.known.add(id(stand_in))
        return stand_in

    def _run(self, name: str, func: Callable, args: tuple, kwargs: dict, given: list) -> Any:
        if not self.on_meta:
            return func(*args, **kwargs)
        if name in FACTORIES and kwargs.get("device") is None and "out" not in kwargs:
            kwargs = {**kwargs, "device": "meta"}
        on_meta = all([t.is_meta for t in given])
        is_short = name in RECURRENT or (on_meta and self.below is None)
        short = SHAPE_ONLY.get(name) if is_short else None
        if short is not None and not torch.is_grad_enabled():
            out = short(*args, **kwargs)
            if out is not NotImplemented:
                if self.below is not None:
                    self.below.see(func, (args, kwargs), out)
                return out
        draws = name in RANDOM or not on_meta  # whatever it comes down to
        try:
            if not draws or self.below is not None:
                return func(*args, **kwargs)
            with self._random:
                return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            if on_meta:
                raise
        # Constants that the model made or kept elsewhere.
        if args and is_in_place(name):
            targets = mapped(lambda t: t if t.is_meta else self._promoted(t), args[0])
            args = (targets, *args[1:])
        args, kwargs = mapped(lambda t: t if t.is_meta else t.to("meta"), (args, kwargs))
        return func(*args, **kwargs)

    def _promoted(self, constant: Tensor) -> Tensor:
        """Data is written into a constant: it and all views of it move to meta, for good."""
        key, size = storage(constant), constant.untyped_storage().nbytes()
        size //= constant.element_size()
        flat = torch.empty(size, dtype=constant.dtype, device="meta")
        made = (t for call in self.calls for t in tensors(call.out))
        for view in {id(t): t for t in (constant, *made)}.values():
            if view.is_meta or storage(view) != key:
                continue
            place = view.size(), view.stride(), view.storage_offset()
            stand_in = self.stand_ins.add(view, flat.as_strided(*place))
            self.calls.append(Call("alias", (view,), {}, stand_in, lambda tensor: tensor))
            self.known.discard(id(view))
            self.known.add(id(stand_in))
        return self.stand_ins.get(constant)

    def _higher_order(self, name: str, func: Callable, args: tuple, kwargs: dict) -> Any:
        """Operators that take functions."""
        if name == "cond":
            condition, if_true, if_false, operands = args
            if isinstance(condition, Tensor) and condition.is_meta:
                raise NotImplementedError("torch.cond asks for a value, which meta tensors lack")
            with self:
                return (if_true if condition else if_false)(*operands)
        if name != "flex_attention":
            raise GraphError(
                f"The model calls the higher-order operator {name}, whose functions can't be "
                "recorded: write it as a loop or a condition of Python."
            )
        with _disable_current_modes():
            out = func(*args, **kwargs)
        captured = [c.cell_contents for f in args if callable(f) for c in f.__closure__ or ()]
        made = [t for c in captured for t in (c.parameters() if isinstance(c, nn.Module) else [c])]
        captured = self.owned([t for t in made if isinstance(t, Tensor)])
        self.known.update(map(id, tensors(out)))
        self.calls.append(Call(name, (*args, captured), kwargs, out, func))
        if self.below is not None:
            self.below.see(func, (args, captured), out)
        return out


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


@functools.cache
def normalized(name: str, is_python: bool) -> str:
    """``add_``, ``__iadd__``, ``__radd__`` and ``add.Tensor`` are all ``add``; of functions that
    exist twice the native ones get a name of their own."""
    if name.startswith("__"):
        name = name.strip("_")
        return name[1:] if name in _PREFIXED_DUNDERS else name
    name = name.partition(".")[0].strip("_")
    name = name.removeprefix("linalg_").removeprefix("special_")
    name = _OTHER_NAMES.get(name, name)
    # torch.batch_norm and torch.nn.functional.batch_norm take their arguments in different orders.
    is_twofold = name in ("batch_norm", "instance_norm", "embedding", "embedding_bag")
    return f"native {name}" if is_twofold and not is_python else name


_PREFIXED_DUNDERS = frozenset(
    prefix + name
    for name in "add sub mul truediv floordiv div mod pow matmul and or xor".split()
    for prefix in "ir"
)
_OTHER_NAMES = {
    "expit": "sigmoid",
    "fused_rms_norm": "rms_norm",
    "native_layer_norm": "layer_norm",
    "safe_softmax": "softmax",
    "unsafe_view": "view",
    **dict.fromkeys(
        """
        cudnn_batch_norm native_batch_norm native_batch_norm_legit batch_norm_impl_index
        native_batch_norm_legit_functional native_batch_norm_legit_no_training
        batch_norm_no_update batch_norm_with_update batch_norm_with_update_functional
        """.split(),
        "batch_norm",
    ),
    **dict.fromkeys(
        [
            f"scaled_dot_product_{kind}"
            for kind in """
            attention_math cudnn_attention efficient_attention flash_attention
            flash_attention_for_cpu fused_attention_overrideable
            """.split()
        ],
        "scaled_dot_product_attention",
    ),
}


def _unwrapped(tensor: Tensor) -> Tensor:
    """The tensor within one of torch.func: what the dispatcher sees."""
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor
