r"""What a run leaves behind: its configuration and one JSON line per interval."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch


class RunLog:
    r"""Averages values over an interval and appends them to ``<out>/log.jsonl``.

    Args:
        out (Path): Folder of the run.
        enabled (bool): Whether this process writes. (default: :obj:`True`)
    """

    def __init__(self, out: Path, enabled: bool = True):
        self.out = out
        self.enabled = enabled
        self._values: dict[str, list[Any]] = defaultdict(list)
        self._start = time.perf_counter()
        if enabled:
            out.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        if self.enabled:
            (self.out / "training.json").write_text(json.dumps(config, indent=1) + "\n")

    def add(self, **values: torch.Tensor) -> None:
        """Adds a step's values; they stay on their device until the line is written."""
        for name, value in values.items():
            self._values[name].append(value)

    def flush(self, step: int, **extra: float) -> str:
        """Writes the line of an interval and returns it in short."""
        steps = len(self._values["loss"])
        sums = {name: float(torch.stack(v).sum()) for name, v in self._values.items()}
        means = {k: v / steps for k, v in sums.items() if k != "skipped_networks"}
        now = time.perf_counter()
        line = {
            "step": step,
            **means,
            "skipped_networks": int(sums["skipped_networks"]),
            "steps_per_second": steps / (now - self._start),
            **extra,
        }
        self._start = now
        self._values.clear()
        if self.enabled:
            with open(self.out / "log.jsonl", "a") as file:
                file.write(json.dumps({k: _rounded(v) for k, v in line.items()}) + "\n")
        return (
            f"step {step} loss {means['loss']:.3f} accuracy {means['accuracy']:.3f} "
            f"{line['steps_per_second']:.2f} steps/s"
        )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}") if isinstance(value, float) else value
