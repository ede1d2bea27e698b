r"""One forward pass of a copy of a module on the meta device, every tensor operation recorded."""

import inspect
import random
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.leaks import fill_leaks
from pyg_ghn.graph.nested import reachable_tensors
from pyg_ghn.graph.recorder import Below, Call, Flow, Recorder, UnrecordedError
from pyg_ghn.graph.stand_ins import StandIns


class Trace(NamedTuple):
    """What one forward pass did. The calls, in the order they ran, keep every tensor alive, so that
    ``id(tensor)`` identifies a tensor throughout."""

    calls: list[Call]
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Tensor]  # what stood for them, by their names
    flows: list[Flow] | None  # after a thorough pass, the calls as the dispatcher saw them
    recorder: Recorder  # for fill_leaks


class _Way(NamedTuple):
    """How a forward pass is run."""

    device: torch.device
    thorough: bool = False
    grad: bool = False
    elsewhere: tuple[Tensor, ...] | None = None  # what no function made in the pass before


def trace(
    model: nn.Module,
    args: tuple,
    kwargs: dict[str, Any] | None = None,
    thorough: bool = False,
    advice: str = "Check example_inputs, which need a batch dimension.",
) -> Trace:
    """Records the operations of ``model(*args, **kwargs)``, in the mode (train or eval) that the
    model is in.

    The pass runs a copy of the model on the meta device: no arithmetic, no memory, whatever the
    size of the model. Where the model asks for values (``.item()``, data-dependent shapes) a real
    pass is recorded instead, on the model's own device or, if it is on meta itself, with zeros on
    the CPU. The model itself is only read. A thorough pass records what the dispatcher sees as
    well; one is repeated so by itself where it needs to be. The advice is for users whose model
    fails on its inputs."""
    kwargs = kwargs or {}
    parameters = dict(model.named_parameters())
    home = next((p.device for p in parameters.values() if not p.is_meta), torch.device("cpu"))
    way = _Way(torch.device("meta"), thorough)
    while True:
        stand_ins, compiles = StandIns(way.device, home), "torch._dynamo" not in sys.modules
        recorder = Recorder(stand_ins, Below() if way.thorough else None)
        try:
            recorded = _record(model, parameters, args, kwargs, way, recorder)
            found = {id(t) for t in recorder.elsewhere}
            # What is there for good turns up in every pass.
            lost = [t for t in way.elsewhere or () if id(t) not in found and t.is_floating_point()]
            compiled = compiles and "torch._dynamo" in sys.modules
            if not (compiled or lost or (found and way.elsewhere is None)):
                return recorded
            failure = recorded = None
            following = way if compiled else way._replace(elsewhere=tuple(recorder.elsewhere))
            if lost:
                following, shape = None, tuple(lost[0].shape)
                failure = GraphError(
                    f"The model uses a tensor of shape {shape} that no recorded function made: "
                    "what it computes in other threads can't be seen, call it in the same one. "
                    "Nor can torch.Tensor(...), torch.FloatTensor(...): call torch.tensor."
                )
        except Exception as error:
            failure, following = error, None
            if isinstance(error, UnrecordedError):
                failure, following = None, way._replace(thorough=True)
            elif not isinstance(error, GraphError):  # whatever user code raises on meta
                failure = _explained(model, stand_ins, args, kwargs, error, advice)
                reason = str(error).lower()
                # An operation failed for lack of values; torch has no one type of error for it.
                asks_for_values = isinstance(error, NotImplementedError) or "meta" in reason
                has_values = not any(p.is_meta for p in parameters.values())
                if not way.grad and "grad" in reason:
                    following = way._replace(grad=True)
                elif way.device.type == "meta" and (asks_for_values or has_values):
                    following = _Way(home, thorough=True, grad=way.grad)  # a real pass decides
                elif not way.grad and isinstance(error, (AssertionError, AttributeError)):
                    following = way._replace(grad=True)  # it may look for them
                else:
                    failure.__cause__ = error
            _clear_frames(error)
        fill_leaks(recorder)
        if following is None:
            raise failure
        way = following


def _clear_frames(error: BaseException | None) -> None:
    """Drops the tensors that the frames of a failed pass hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            _ = frame.f_locals  # updates what was once read of them
        error = error.__context__


def _record(
    model: nn.Module,
    parameters: dict[str, Tensor],
    args: tuple,
    kwargs: dict[str, Any],
    way: _Way,
    recorder: Recorder,
) -> Trace:
    stand_ins = recorder.stand_ins
    with ExitStack() as stack:
        if torch.get_default_device().type == "meta" and way.device.type != "meta":
            stack.enter_context(way.device)
        with torch.no_grad():
            parameters = {name: stand_ins.tensor(p) for name, p in parameters.items()}
            twin = stand_ins.copy(unwrapped(model))
            stand_ins.moves = True
            args, kwargs = stand_ins.copy(args), stand_ins.copy(kwargs)
        inputs = reachable_tensors(args, kwargs)
        recorder.known.update(id(stand_in) for _, stand_in in stand_ins.tensors)
        stack.enter_context(torch.set_grad_enabled(way.grad))
        stack.enter_context(preserved_rng())
        stack.enter_context(uncompiled())
        if recorder.below is not None:
            stack.enter_context(recorder.below)
        stack.enter_context(recorder)
        returned = twin(*args, **kwargs)
        outputs = [recorder.owned(t) for t in reachable_tensors(returned)]
    if not outputs:
        raise GraphError(
            f"{type(model).__name__} returns a {type(returned).__name__} in which there is no "
            "tensor: return its outputs themselves."
        )
    flows = recorder.below and recorder.below.flows
    return Trace(recorder.calls, inputs, outputs, parameters, flows, recorder)


def unwrapped(model: nn.Module) -> nn.Module:
    r"""What runs on one device of a model that runs on several."""
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    return model


@contextmanager
def preserved_rng() -> Iterator[None]:
    r"""Leaves the process-wide generators as they were, should user code draw from them directly or
    seed them, unless another thread has run meanwhile: what it may have drawn would repeat."""
    others = _other_threads()
    python, numpy, own = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    try:
        yield
    finally:
        if others is not None and others == _other_threads():
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_rng_state(own)


def _other_threads() -> dict[int, Any] | None:
    """What tells whether another thread has run since: the frame in which it waits, or its clock.
    If it is the same later, the thread has drawn nothing."""
    ids = {thread.ident: thread.native_id for thread in threading.enumerate()}
    found = sys._current_frames()
    found.pop(threading.get_ident())
    try:
        for i, frame in found.items():
            waits = frame.f_code.co_name in ("wait", "join", "_wait_for_tstate_lock")
            if not waits or frame.f_code.co_filename != threading.__file__:
                # On Linux; pthread_getcpuclockid crashes for a thread that has ended.
                found[i] = time.clock_gettime(~ids[i] << 3 | 6)
    except (AttributeError, KeyError, OSError, TypeError):  # some still start
        return None
    return found


_eager = {"lock": threading.RLock(), "passes": weakref.WeakSet(), "stance": None}


@contextmanager
def uncompiled() -> Iterator[None]:
    r"""Runs compiled functions as they were written. This holds for all threads: the first pass
    sets it, the last one ends it, also after one that was interrupted on its way in or out."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    own = threading.Event()
    try:
        with _eager["lock"]:
            _eager["passes"].add(own)
            if _eager["stance"] is None:
                _eager["stance"] = torch.compiler.set_stance("force_eager")
        yield
    finally:
        with _eager["lock"]:
            _eager["passes"].discard(own)
            if not _eager["passes"] and _eager["stance"] is not None:
                _eager["stance"].__exit__(None, None, None)
                _eager["stance"] = None


def _explained(
    model: nn.Module,
    stand_ins: StandIns,
    args: tuple,
    kwargs: dict[str, Any],
    error: Exception,
    advice: str,
) -> GraphError:
    """Names the innermost module on the stack of a failed forward pass and the way out."""
    names = {id(stand_ins.get(module)): name for name, module in model.named_modules()}
    culprit, where = model, ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            culprit = owner
            where = f" in module '{names[id(owner)] or 'model'}' ({type(owner).__name__})"
    given = [
        f"a {str(v.dtype).removeprefix('torch.')} tensor of shape {tuple(v.shape)}"
        if isinstance(v, Tensor) and not v.is_nested
        else f"a {type(v).__name__}"
        for v in (*args, *kwargs.values())
    ]
    required = [
        f"'{p.name}'"
        for p in inspect.signature(model.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > len(given):
        needed = ", ".join(required)
        advice = f"Its forward needs {needed}: pass them as example_inputs, with a batch dimension."
    elif isinstance(culprit, (nn.Embedding, nn.EmbeddingBag)):
        advice = "It looks up integers, token ids for example: pass them as example_inputs."
    return GraphError(
        f"The forward pass of {type(model).__name__} on {', '.join(given) or 'no input'} failed"
        f"{where}: {type(error).__name__}: {str(error).rstrip('.')}. "
        f"{advice}"
    )
