r"""How a run stops, and what it needs to go on."""

from __future__ import annotations

import math
import signal
import threading
import zipfile
from pathlib import Path
from typing import Any

import torch

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import CheckpointError

CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.damaged.pt"

_ENTRIES = {
    "state_dict": dict,
    "config": dict,
    "training": dict,
    "optimizer": dict,
    "steps_done": int,
    "seconds_done": float | int,
}


def write_state(state: dict[str, Any], out: Path) -> None:
    r"""Writes the checkpoint of a run and keeps the one before."""
    new, current = out / "checkpoint.new.pt", out / CHECKPOINT
    with atomic_path(new) as path:
        torch.save(state, path)
    if current.exists():
        current.replace(out / PREVIOUS)
    new.replace(current)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    r"""Reads what :func:`write_state` wrote; code in the file is never run.

    Raises:
        CheckpointError: If the file is missing, damaged or was written by another program.
    """
    try:
        with zipfile.ZipFile(path) as file:
            flaw = f"{broken} in it has changed" if (broken := file.testzip()) else None
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged pickles fail in any way
        flaw, state = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", None
    if flaw is None and not isinstance(state, dict):
        flaw = f"it holds a {type(state).__name__}"
    if flaw is None:
        wrong = [name for name, kind in _ENTRIES.items() if not isinstance(state.get(name), kind)]
        if not wrong:
            counts = {name: state[name] for name in ("steps_done", "seconds_done")}
            wrong = [n for n, value in counts.items() if not (0 <= value < math.inf)]
        flaw = f"it has no valid {', '.join(wrong)}" if wrong else None
    if flaw is not None:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of a run ({flaw}): delete it to start anew, or "
            "choose another `out`."
        )
    return state


class StopSignals:
    r"""Within the block, SIGINT and SIGTERM do not end the process but are :obj:`received`, so that
    it can save first. Outside the main thread, which alone can handle signals, nothing changes."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def raise_received(self) -> None:
        """Ends the process: SIGINT as Python does it, SIGTERM (also another process's) with the
        exit status 143."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)
