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
from accelerate import Accelerator

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError


class RunLog:
    r"""Averages values over an interval and appends them to ``<out>/log.jsonl``.

    Args:
        out (Path): Folder of the run; made as needed.
        accelerator (accelerate.Accelerator): Adds up values over the processes, of which the main
            one writes.

    Raises:
        ConfigError: If the folder can't be made or written to.
    """

    def __init__(self, out: Path, accelerator: Accelerator):
        self.out = out
        self.accelerator = accelerator
        self.sums: dict[str, torch.Tensor | float] = {}
        self.steps, self.start_seconds = 0, 0.0
        if accelerator.is_main_process:
            with self._writing():
                out.mkdir(parents=True, exist_ok=True)

    def begin(self, config: dict[str, Any], steps_done: int) -> None:
        """Writes the configuration, and removes what a killed run has left: temporary files, and
        lines of the log after the checkpoint from which the run goes on."""
        if not self.accelerator.is_main_process:
            return
        path = self.out / "log.jsonl"
        with self._writing():
            for file in self.out.iterdir():
                if _TEMPORARY.fullmatch(file.name):
                    file.unlink(missing_ok=True)
            with atomic_path(self.out / "training.json") as temporary:
                temporary.write_text(json.dumps(config, indent=1) + "\n")
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()
                kept = "".join(f"{line}\n" for line in lines if _step(line) <= steps_done)
                with atomic_path(path) as temporary:
                    temporary.write_text(kept)

    def add(self, **values: torch.Tensor) -> None:
        """Adds the sums of one step; they stay on their device until the line is written."""
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

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

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on with an interval; its sums are those of all processes, so only one gets them."""
        self.steps, self.start_seconds = int(state["steps"]), float(state["start_seconds"])
        main = self.accelerator.is_main_process
        self.sums = {name: float(v) if main else 0.0 for name, v in state["sums"].items()}

    def flush(self, step: int, lr: float, seconds: float) -> str:
        """Writes the line of an interval, over all processes, and returns it in short. All
        processes must call it together."""
        sums = self._totals()
        networks, skipped = sums["networks"], sums["skipped_networks"]
        line = {
            "step": step,
            "lr": lr,
            "seconds": seconds,
            "loss": sums["loss"] / max(networks, 1),
            "accuracy": sums["accuracy"] / (networks + skipped),
            "grad_norm": sums["grad_norm"] / (self.steps * self.accelerator.num_processes),
            "skipped_networks": int(skipped),
            "steps_per_second": self.steps / max(seconds - self.start_seconds, 1e-9),
        }
        self.sums, self.steps, self.start_seconds = {}, 0, seconds
        if self.accelerator.is_main_process:
            text = json.dumps({name: _rounded(value) for name, value in line.items()})
            with self._writing(), open(self.out / "log.jsonl", "a") as file:
                file.write(text + "\n")
        return (
            f"step {step} loss {line['loss']:.3f} accuracy {line['accuracy']:.3f} "
            f"{line['steps_per_second']:.2f} steps/s"
        )

    def _totals(self) -> dict[str, float]:
        device = self.accelerator.device
        sums = {n: torch.as_tensor(v, device=device).float() for n, v in sorted(self.sums.items())}
        return {name: float(self.accelerator.reduce(value)) for name, value in sums.items()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"Can't write to the folder of the run {self.out} ({error}): make room, or choose "
                "another `out`."
            ) from error


# What `atomic_path` leaves of a run's files if it is killed.
_TEMPORARY = re.compile(r"\.(checkpoint(\.new)?|model|training|log)\.[0-9a-f]{32}\.\w+")


def _step(line: str) -> float:
    """The step of a line of the log; a line cut short has none and counts as too late."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _rounded(value: float) -> float | None:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None  # JSON has no NaN
