r"""What a run leaves behind: its configuration and one JSON line per interval."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError, GHNError

TUNED = "val_tuned_accuracy"
VALIDATED = {
    "val_accuracy": "val_networks",
    TUNED: "val_networks",
    "val_rank": "val_networks",
    "val_cosine": "val_paired",  # networks with two layers of one shape
    "val_scale": "val_networks",
    "val_class_scale": "val_networks",
}
r"""What a validation adds up, and the number of networks that it is divided by."""


class RunLog:
    r"""Averages values over an interval and appends them to ``<out>/log.jsonl``.

    Args:
        out (Path): Folder of the run.
        enabled (bool): Whether this process writes. (default: :obj:`True`)
        track (callable, optional): Gets the numbers of each line and its step, for a tracker.
            (default: :obj:`None`)
    """

    def __init__(self, out: Path, enabled: bool = True, track: Callable[..., None] | None = None):
        self.out = out
        self.enabled = enabled
        self.track = track
        self._values: dict[str, list[Any]] = defaultdict(list)
        self._start = time.perf_counter()
        if enabled:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"The folder of the run can't be made ({error}): choose another `out`."
                ) from error

    def write_config(self, config: dict[str, Any]) -> None:
        if self.enabled:
            with atomic_path(self.out / "training.json") as path:
                path.write_text(json.dumps(config, indent=1) + "\n")

    def add(self, **values: torch.Tensor) -> None:
        """Adds a step's sums; they stay on their device until the line is written."""
        for name, value in values.items():
            self._values[name].append(value)

    def pending(self) -> dict[str, torch.Tensor]:
        """The sums since the last line, for a checkpoint."""
        return {name: torch.stack(values) for name, values in self._values.items() if values}

    def restore(self, pending: dict[str, torch.Tensor]) -> None:
        """Goes on with the sums of a checkpoint."""
        self._values = defaultdict(list, {name: list(v) for name, v in pending.items()})

    def trim(self, steps_done: int) -> None:
        """Drops the lines that a killed run wrote after its last checkpoint."""
        path = self.out / "log.jsonl"
        if not self.enabled or not path.exists():
            return
        kept = []
        for line in path.read_text(errors="replace").splitlines():
            with suppress(ValueError, TypeError, KeyError):  # what the kill left of the last line
                if json.loads(line)["step"] <= steps_done:
                    kept.append(f"{line}\n")
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept))

    def flush(self, reduce: Callable[[torch.Tensor], torch.Tensor], **extra: float) -> str:
        """Writes the line of an interval, over all processes, and returns it in short.

        Args:
            reduce (callable): Adds up a tensor over the processes; all must come here.
            **extra: What else belongs into the line.
        """
        steps = len(self._values["loss"])
        sums = {
            name: float(reduce(torch.stack(v).sum().float())) for name, v in self._values.items()
        }
        networks, skipped = sums["networks"], sums["skipped_networks"]
        validated = {
            name: sums[name] / sums[count]
            for name, count in VALIDATED.items()
            if name in sums and sums[count] > 0
        }
        processes = float(reduce(torch.ones_like(self._values["loss"][0])))
        now = time.perf_counter()
        line = {
            **extra,
            "loss": sums["loss"] / max(networks, 1),
            "accuracy": sums["accuracy"] / (networks + skipped),
            **validated,
            "grad_norm": sums["grad_norm"] / (steps * processes),
            "skipped_networks": int(skipped),
            "steps_per_second": steps / (now - self._start),
        }
        self._start = now
        self._values.clear()
        if self.enabled:
            path = self.out / "log.jsonl"
            rounded = {k: _rounded(v) for k, v in line.items()}
            try:
                with open(path, "a") as file:
                    file.write(json.dumps(rounded) + "\n")
            except OSError as error:  # a full disk says no name by itself
                raise GHNError(f"Can't write {path}: {error}.") from error
            if self.track is not None:
                step = rounded.pop("step")
                self.track({k: v for k, v in rounded.items() if v is not None}, step=step)
        val = f" (val {line['val_accuracy']:.3f})" if validated else ""
        return (
            f"loss {line['loss']:.3f} accuracy {line['accuracy']:.3f}{val} "
            f"{line['steps_per_second']:.2f} steps/s"
        )


def _rounded(value: float) -> float | None:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None  # JSON has no NaN
