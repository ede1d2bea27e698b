r"""Meta tensors that outlive a forward pass get the values that a real pass would have left."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from contextlib import ExitStack
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.meta_operations import META
from pyg_ghn.graph.nested import ATOMS, mapped, storage, tensors
from pyg_ghn.graph.recorder import Call, OwnRandom, Recorder
from pyg_ghn.graph.stand_ins import StandIns


class _Reference(NamedTuple):
    """A tensor of the pass, in a tape that keeps none of them alive."""

    key: int
    storage: int | None

    @classmethod
    def to(cls, tensor: Tensor) -> _Reference:
        return cls(id(tensor), storage(tensor))


def fill_leaks(recorder: Recorder) -> None:
    """Ends a recorded pass, of which the caller must keep nothing else. If a cache, a global list
    or the like still holds a meta tensor that the pass made, what made it is run for real, on the
    model's values. The stand-in for a tensor of the model becomes another view of that tensor."""
    calls, stand_ins = recorder.calls, recorder.stand_ins
    if recorder.below is not None:
        recorder.below.flows.clear()
    if not (recorder.below or _may_leak(calls, stand_ins)):
        return
    pairs = [*stand_ins.tensors, *stand_ins.views]
    originals = {id(twin): t for t, twin in pairs}
    tape = [Call(c.name, *mapped(_Reference.to, (c.args, c.kwargs, c.out)), c.func) for c in calls]
    # What other threads have made of the stand-ins keeps them alive.
    twins = () if recorder.elsewhere else (twin for _, twin in pairs)
    outs = (t for call in calls for t in tensors(call.out) if t.is_meta and recorder.on_meta)
    made = {id(t): weakref.ref(t) for t in chain(twins, outs)}
    modules = [m for m in stand_ins.originals if isinstance(m, nn.Module)]
    modules = [
        (weakref.ref(twin), m) for m in modules if isinstance(twin := stand_ins.get(m), nn.Module)
    ]
    pairs.clear()
    twin = None
    recorder.forget()
    if any(ref() is not None for ref in made.values()):
        gc.collect()
    leaks = {key: tensor for key, ref in made.items() if (tensor := ref()) is not None}
    for ref, module in modules:
        if (twin := ref()) is not None:  # what a cache holds, be it as a key, is the model's own
            vars(twin).update(vars(module))
    made.clear()  # tensors with weak references can't be swapped
    try:
        ours = {key: tensor for key, tensor in leaks.items() if key not in originals}
        values = _replayed(tape, ours, originals, stand_ins.home) if ours else {}
        ours.clear()
        for key, tensor in reversed(leaks.items()):  # views before what they are views of
            known = key in originals
            value = _live(originals[key]) if known else values[key].clone()  # which has no views
            torch.utils.swap_tensors(tensor, value)
    except Exception as error:  # whatever an operation raises
        shapes = ", ".join(str(tuple(t.shape)) for t in leaks.values())
        raise GraphError(
            f"Tensors of shape {shapes} that the forward pass makes outlive it, in a cache or a "
            f"global variable, and their values can't be computed ({type(error).__name__}: {error})"
            ". Keep them in attributes of a module."
        ) from error


def _live(original: Tensor) -> Tensor:
    view = original.detach()
    is_parameter = isinstance(original, nn.Parameter)
    return nn.Parameter(view, original.requires_grad) if is_parameter else view


def _may_leak(calls: list[Call], stand_ins: StandIns) -> bool:
    """Whether something beside the recorded calls and the copy of the model refers to a tensor of
    theirs, or to a tuple or list of tensors that a call returned."""
    arguments = chain.from_iterable((*call.args, *call.kwargs.values()) for call in calls)
    arguments = [v for v in arguments if type(v) not in ATOMS]
    outs = [call.out for call in calls]
    nested = {id(v): v for v in (*arguments, *outs) if isinstance(v, (list, tuple, dict))}
    inner = tensors(*nested.values())
    holders = Counter(map(id, chain(arguments, outs, inner)))
    views = {id(t._base) for t in (*outs, *inner) if isinstance(t, Tensor) and t._is_view()}
    twins = [twin for _, twin in (*stand_ins.tensors, *stand_ins.views)]
    for key in map(id, twins):
        holders[key] += 3  # a module, this list and the table of copies
    kinds = (Tensor, list, tuple, dict)
    made = list({id(v): v for v in (*outs, *inner, *twins) if isinstance(v, kinds)}.values())
    del arguments, nested, outs, inner, twins
    counts = [*map(sys.getrefcount, made)]  # before anything else takes one of them
    return any(
        count > holders[id(t)] + _OWN + (_OF_VIEW if id(t) in views else 0)
        for t, count in zip(made, counts, strict=True)
    )


def _replayed(
    tape: list[Call],
    leaks: dict[int, Tensor],
    originals: dict[int, Tensor],
    device: torch.device,
) -> dict[int, Tensor]:
    """The real values of all tensors on which the leaks depend."""
    needed = {*map(storage, leaks.values())}
    steps = []
    for call in reversed(tape):
        if not needed.isdisjoint(r.storage for r in tensors(call.out, kind=_Reference)):
            steps.append(call)
            needed |= {r.storage for r in tensors(call.args, call.kwargs, kind=_Reference)}
    values: dict[int, Tensor] = {}

    def real(value: _Reference | torch.device | str) -> Any:
        if not isinstance(value, _Reference):
            return device if value in ("meta", META) else value
        if value.key not in values:
            original = originals[value.key]
            values[value.key] = (
                torch.zeros(original.shape, dtype=original.dtype, device=device)
                if original.is_meta
                else original.detach().clone()
            )
        return values[value.key]

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(OwnRandom())
        if torch.get_default_device().type == "meta":
            stack.enter_context(device)
        for _, args, kwargs, out, func in reversed(steps):
            args, kwargs = mapped(real, (args, kwargs), (_Reference, torch.device, str))
            result = func(*args, **kwargs)
            if result is not None:  # else it has written into some of the values
                keys = [r.key for r in tensors(out, kind=_Reference)]
                values.update(zip(keys, tensors(result), strict=True))
    return values


# How many references there are to a tensor in a list while they are counted, and how many more
# if it has views, which keep it alive in C++ (in later versions of torch).
_probe = [torch.empty(1, device="meta")]
_OWN = next(map(sys.getrefcount, _probe))
_view = _probe[0].view(1)
_OF_VIEW = next(map(sys.getrefcount, _probe)) - _OWN
