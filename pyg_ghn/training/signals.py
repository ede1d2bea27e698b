r"""Signals that end a run after its present step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class StopRequest:
    r"""The signal that asked a run to stop.

    Attributes:
        number: The signal, 0 for none.
    """

    number: int = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        r"""Within the block SIGINT and SIGTERM are noted; the second one ends the run at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.number:
                self.end(number)
            self.number = number

        in_main_thread = threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
        before = [signal.signal(number, note) for number in caught]
        try:
            yield
        finally:
            for number, handler in zip(caught, before, strict=True):
                signal.signal(number, handler)

    def end(self, number: int) -> NoReturn:
        r"""Raises what the signal stands for: the process ends with 130 or 143."""
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
