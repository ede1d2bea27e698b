r"""What a run leaves behind, its configuration and one JSON line per interval, and what it shows
while it goes on: a bar, the newest line, and what it will reach."""

import json
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.training.config import TrainConfig

TUNED = "val_tuned_accuracy"
VALIDATED = {
    "val_accuracy": "val_networks",
    TUNED: "val_tuned",
    "val_rank": "val_networks",
    "val_cosine": "val_paired",  # networks with two layers of one shape
    "val_scale": "val_networks",
    "val_class_scale": "val_networks",
}
r"""What a validation adds up, and the number of networks that it is divided by."""

TELL_AFTER = 5.0  # seconds behind the first step, which is the slowest, until the first estimate
HOPELESS = 300
r"""Steps below which a GHN learns next to nothing: the first ghn3-digits, from scratch with eight
networks a step, told digits apart with 20 % accuracy after 300 steps, where chance is 10 %, and
with 48 % after 1,000."""
HOPELESS_FROM_GHN = 100
r"""The same for a run that begins with a trained GHN: the packaged ghn3-fashion, begun with
ghn3-digits, had 20 % in its first 100 steps and 37 % in the next (its log)."""


class RunLog:
    r"""Averages values over an interval and appends them to ``<out>/log.jsonl``, if this process is
    the one that writes. :obj:`track` gets the numbers of each line and its step, for a tracker."""

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
        """Drops the lines that a killed run wrote after its last checkpoint. No step stands twice,
        and none before an earlier one."""
        path = self.out / "log.jsonl"
        if not self.enabled or not path.is_file():
            return
        kept = {}
        for line in path.read_text(errors="replace").splitlines():
            with suppress(ValueError, TypeError, KeyError, RecursionError):  # damaged by the kill
                if type(step := json.loads(line)["step"]) is int and step <= steps_done:
                    kept[step] = f"{line}\n"
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept[step] for step in sorted(kept)))

    def flush(self, reduce: Callable[[torch.Tensor], torch.Tensor], **extra: float) -> str:
        r"""Writes the line of an interval, with what else belongs into it, and returns it in short.
        All processes must come here, as :obj:`reduce` adds up a tensor over them."""
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
        tuned = f", tuned {line[TUNED]:.3f}" if TUNED in line else ""
        val = f" (val {line['val_accuracy']:.3f}{tuned})" if validated else ""
        return (
            f"loss {line['loss']:.3f} accuracy {line['accuracy']:.3f}{val} "
            f"{line['steps_per_second']:.2f} steps/s"
        )


def _rounded(value: float) -> float | None:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None  # JSON has no NaN


class Display:
    """The progress bar of a session. Steps, seconds and progress are those of earlier sessions."""

    def __init__(
        self,
        config: TrainConfig,
        steps: int,
        seconds: float,
        progress: float,
        enabled: bool = True,
    ):
        self.config = config
        self.enabled = enabled
        self.steps_per_second = 0.0
        self._begin = self._now = steps, seconds
        self._first: tuple[int, float] | None = None
        self._told = False
        self.bar = tqdm(
            total=100,
            initial=round(100 * progress),
            unit="%",
            desc="meta-training",
            disable=not enabled,
            mininterval=1,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} {postfix}",
        )
        if progress >= 1:
            self.say("This run had reached its end: give it more minutes or steps to go on.")

    def say(self, text: str) -> None:
        r"""Writes a line above the bar."""
        if self.enabled:
            self.bar.write(text, file=sys.stderr)

    def step(self, steps: int, seconds: float, progress: float) -> None:
        """Counts a step. Says once what the run will reach, and warns if that is too little to
        learn."""
        # The first step is the slowest, as it builds all of its networks: it counts only alone.
        since_steps, since_seconds = self._first or self._begin
        self.steps_per_second = (steps - since_steps) / max(seconds - since_seconds, 1e-9)
        self._now = steps, seconds
        self._first = self._first or self._now
        enough = seconds - self._first[1] >= TELL_AFTER
        too_late = progress >= 1 and self.total_steps() != self.config.steps
        if self.enabled and not self._told and (enough or too_late):
            self._told = True
            self._tell()
            self.bar.bar_format = self.bar.bar_format.replace("{elapsed}", "{elapsed}<{remaining}")
        self.bar.update(100 * progress - self.bar.n)

    def show(self, line: str) -> None:
        r"""Puts a line of the log beside the bar."""
        total = self.total_steps()
        about = "about " * (total != self.config.steps)
        of = f" of {about}{total:,}" if self._told or not about else ""
        self.bar.set_postfix_str(f"step {self._now[0]:,}{of} {line}")

    def total_steps(self) -> int:
        r"""Steps that the run will have done at its end."""
        steps, seconds = self._now
        limits = [self.config.steps] if self.config.steps else []
        if self.config.minutes:
            left = max(60 * self.config.minutes - seconds, 0.0)
            limits.append(steps + round(left * self.steps_per_second))
        return min(limits)

    def _tell(self) -> None:
        config, total = self.config, self.total_steps()
        if total == config.steps:
            minutes = (total - self._now[0]) / self.steps_per_second / 60
            end = f"take about {minutes:.2g} more minutes to its {total:,} steps"
        else:
            end = f"reach about {total:,} steps in its {config.minutes:g} minutes"
            least = HOPELESS if config.init is None else HOPELESS_FROM_GHN
            if total < least:
                known = ", a trained GHN to begin with (init)" * (config.init is None)
                warnings.warn(
                    f"About {total} steps fit in {config.minutes:g} minutes, and a GHN learns next "
                    f"to nothing in less than {least}; good ones take thousands. Give it more "
                    f"minutes{known}, or cheaper steps: a smaller "
                    "image_size, batch_size, meta_batch_size, max_cells or hidden_channels, or "
                    "narrow networks (channels).",
                    stacklevel=4,
                )
        self.say(
            f"{self.steps_per_second:.2g} steps/s: this run will {end}. Its log is in "
            f"{config.out}/log.jsonl."
        )
