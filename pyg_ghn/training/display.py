r"""What a run shows while it goes on: a bar, the newest line of the log, and what it will
reach."""

from __future__ import annotations

import sys
import warnings

from tqdm import tqdm

from pyg_ghn.training.config import TrainConfig

TELL_AFTER = 5.0
r"""Seconds of training after which the first estimate is given, by two steps or more; by one alone
after twice as many."""

HOPELESS = 300
r"""Steps below which a GHN learns next to nothing: the packaged one, trained with eight networks a
step, told digits apart with 20 % accuracy after 300 steps, where chance is 10 %, and with 48 %
after 1,000."""
HOPELESS_FROM_GHN = 100
r"""The same for a run that begins with a trained GHN: the packaged ghn3-fashion, begun with
ghn3-digits, had 20 % in its first 100 steps and 37 % in the next (its log)."""


class Display:
    r"""The progress bar of a session.

    Args:
        config (TrainConfig): Says when the run ends.
        steps (int): Steps that earlier sessions did.
        seconds (float): The time they took.
        progress (float): Share of the run that they did.
        enabled (bool): Whether this process shows anything. (default: :obj:`True`)
    """

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
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}",
        )
        if enabled and progress >= 1:
            message = "This run had reached its end: give it more minutes or steps to go on."
            self.bar.write(message, file=sys.stderr)

    def step(self, steps: int, seconds: float, progress: float) -> None:
        r"""Counts a step. After some seconds it says once what the run will reach, and warns if
        that is too little to learn anything."""
        # The first step is the slowest, as it builds all of its networks: it counts only alone.
        elapsed = seconds - self._begin[1]
        since_steps, since_seconds = self._first or self._begin
        self.steps_per_second = (steps - since_steps) / max(seconds - since_seconds, 1e-9)
        self._now = steps, seconds
        self._first = self._first or self._now
        enough = TELL_AFTER if steps > self._first[0] else 2 * TELL_AFTER
        if self.enabled and not self._told and elapsed >= enough:
            self._told = True
            self._tell()
        self.bar.update(100 * progress - self.bar.n)

    def show(self, line: str) -> None:
        r"""Puts a line of the log beside the bar."""
        total = self.total_steps()
        self.bar.set_postfix_str(f"step {self._now[0]:,} of about {total:,} {line}")

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
        self.bar.write(
            f"{self.steps_per_second:.2g} steps/s: this run will {end}. Its log is in "
            f"{config.out}/log.jsonl.",
            file=sys.stderr,
        )
