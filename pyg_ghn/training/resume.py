r"""The checkpoint from which a run goes on."""

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import CheckpointError, ConfigError, WriteError
from pyg_ghn.nn import GHN
from pyg_ghn.training.config import TrainConfig
from pyg_ghn.training.processes import laid_out

CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")

_STATE = {"config": dict, "state_dict": dict, "optimizer": dict, "training": dict}
_STATE |= {"steps_done": int, "seconds_done": (int, float)}
_DECISIVE = ("seed", "lr", "batch_size", "meta_batch_size", "accumulate")
_FREE_TO_CHANGE = {"out", "image_root", "dataset_root", "steps", "minutes", "threads", "shard"}
_FREE_TO_CHANGE |= {"log_every", "save_every", "val_every", "val_steps", "tracker", "allow_changes"}


def write_state(state: dict[str, Any], out: Path) -> None:
    """Writes the checkpoint of a run and keeps the one before it."""
    last, previous = (out / name for name in CHECKPOINTS)
    try:
        with atomic_path(last) as path:
            torch.save(state, path)
            if last.exists():
                last.replace(previous)
    except WriteError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"Can't write {last}: {error}") from error


def load_last(out: Path, load: Callable[[Path], None]) -> Path | None:
    """Loads the last checkpoint of a run, or with a warning the one before it, if that is damaged:
    it returns the damaged one then."""
    found = [path for name in CHECKPOINTS if (path := out / name).exists()]
    for i, path in enumerate(found):
        try:
            load(path)
            return found[0] if i else None
        except CheckpointError as error:
            if i + 1 == len(found):
                raise
            warnings.warn(f"{error} Going on from {found[i + 1]}.", stacklevel=3)
    return None


def restore(
    path: Path,
    config: TrainConfig,
    ghn: GHN,
    average: GHN | None,
    optimizer: Optimizer,
    scaler: GradScaler | None,
) -> dict[str, Any]:
    """Gives what a run trains the values of a checkpoint, all of which it returns."""
    state = read_state(path)
    if {**ghn.config, **state["config"]} != ghn.config:  # an older one may lack options
        raise ConfigError(
            f"{path} is of another size, {state['config']}, than this run's {ghn.config}: "
            "choose another folder `out`, or delete the checkpoint to start anew."
        )
    check_changes(state["training"], config)
    try:
        load_weights(ghn, state["state_dict"])
        if average is not None:  # of a run that began without, it begins here
            load_weights(average, state.get("average") or state["state_dict"])
        load_optimizer(optimizer, state["optimizer"])
        if scaler is not None and state.get("scaler"):
            scaler.load_state_dict(state["scaler"])
    except Exception as error:  # what another program wrote fails in any way
        raise damaged(path, error) from error
    return state


def read_state(path: Path) -> dict[str, Any]:
    r"""Reads what :func:`write_state` wrote, to the CPU. Code in the file is never run."""
    try:
        if not path.is_file():  # opening a pipe would wait forever
            raise ValueError("it is no regular file")
        with zipfile.ZipFile(path) as file:
            if changed := file.testzip():  # torch does not look at the checksums
                raise ValueError(f"{changed} has changed")
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, kind in _STATE.items():
            if not isinstance(state[name], kind):
                raise TypeError(f"{name} is {state[name]!r}")
        json.dumps([state["config"], state["training"]])  # plain values alone can be compared
        if any(sums.dim() != 1 for sums in state.get("log", {}).values()):
            raise ValueError("the sums of the log are out of shape")
        if not (0 <= state["steps_done"] < 2**63 and 0 <= state["seconds_done"] < 2**63):
            raise ValueError("the number of steps or seconds is out of range")
        for name, tensor in [*state["state_dict"].items(), *state.get("average", {}).items()]:
            if not (tensor.is_floating_point() and tensor.isfinite().all()):
                raise ValueError(f"{name} has values that are no finite numbers")
        for moments in state["optimizer"]["state"].values():
            if moments.keys() != {"step", "exp_avg", "exp_avg_sq"}:
                raise ValueError("the state of AdamW is incomplete")
            finite = all(torch.isfinite(value).all() for value in moments.values())
            if not finite or (moments["exp_avg_sq"] < 0).any() or moments["step"] < 0:
                raise ValueError("the moments of AdamW are out of range")
    except Exception as error:  # damaged files fail in any way
        raise damaged(path, error) from error
    return state


def load_weights(module: nn.Module, saved: dict[str, Tensor]) -> None:
    r"""Gives a module, whose parameters may be divided among processes, those of a checkpoint."""
    own = module.state_dict()
    module.load_state_dict({name: laid_out(t, own.get(name)) for name, t in saved.items()})


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Gives an optimizer the moments of another session; all else in its groups is this run's."""
    groups = optimizer.state_dict()["param_groups"]
    if [g["params"] for g in saved["param_groups"]] != [g["params"] for g in groups]:
        raise ValueError("the optimizer of other parameters")
    params = [param for group in optimizer.param_groups for param in group["params"]]
    moments = {
        i: {name: laid_out(moment, params[i]) for name, moment in state.items()}
        for i, state in saved["state"].items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for param, moments in optimizer.state.items():
        if any(m.shape != (() if n == "step" else param.shape) for n, m in moments.items()):
            raise ValueError("moments of another shape")


def damaged(path: Path, error: Exception) -> CheckpointError:
    r"""The error that tells of a checkpoint of which no run can go on."""
    reason = " ".join(str(error).split())[:200]
    return CheckpointError(
        f"{path} is damaged or not a checkpoint of this run ({type(error).__name__}: {reason}): "
        "delete it to start anew, or choose another `out`."
    )


def check_changes(before: dict[str, Any], config: TrainConfig) -> None:
    """Warns of options that a run did not begin with; refuses those that make it another run."""
    after = asdict(config)
    changed = {
        name: f"{name} {before[name]} -> {after[name]}"
        for name in sorted(before.keys() & after.keys() - _FREE_TO_CHANGE)
        if before[name] != after[name]
    }
    refused = [changed[name] for name in _DECISIVE if name in changed]
    if refused and not config.allow_changes:
        raise ConfigError(
            f"The run in {config.out} began with other options ({', '.join(refused)}): use the "
            "same ones, another `out`, or --allow_changes true."
        )
    if changed:
        warnings.warn(
            f"The run in {config.out} goes on with other options: {', '.join(changed.values())}.",
            stacklevel=2,
        )
