r"""JSON files too large to hold: one value after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

CHUNK = 1 << 20
LIMIT = 1 << 26
r"""Characters of the largest single value."""


class JsonStream:
    r"""Reads a JSON text piece by piece, so that only one piece is in memory at a time.

    :meth:`members` and :meth:`items` step into objects and arrays, :meth:`value` reads one value
    as a whole. The caller has to read (or step into) the value of every member.

    Args:
        file (TextIO): The text.

    Raises:
        ValueError: Everywhere, if the text ends too early or is no JSON, or a value is too large.
    """

    def __init__(self, file: TextIO):
        self._file = file
        self._text, self._position = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def value(self) -> Any:
        r"""Reads the next value as a whole."""
        self._peek()
        size = CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                problem = error
            else:
                # At the end of the text read so far a number may still go on.
                if end < len(self._text) or not self._read(CHUNK):
                    self._position = end
                    return value
                continue
            if len(self._text) - self._position > LIMIT or not self._read(size):
                raise ValueError(f"it ends too early or is no JSON: {problem}")
            size *= 2  # each try starts over, so that tries must become rarer

    def members(self) -> Iterator[str]:
        r"""Steps through an object, key by key."""
        for _ in self._elements("{", "}"):
            key = self.value()
            self._take(":")
            yield key

    def items(self) -> Iterator[Any]:
        r"""Steps through an array, value by value."""
        for _ in self._elements("[", "]"):
            yield self.value()

    def _elements(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self._peek() != closing:
            yield
            while self._peek() == ",":
                self._take(",")
                yield
        self._take(closing)

    def _take(self, expected: str) -> None:
        found = self._peek()
        if found != expected:
            raise ValueError(f"it ends too early or is no JSON: {expected!r} expected, {found!r}")
        self._position += 1

    def _peek(self) -> str:
        # The next character that is no white space, or "" at the end of the text.
        while True:
            while self._position < len(self._text):
                if not self._text[self._position].isspace():
                    return self._text[self._position]
                self._position += 1
            if not self._read(CHUNK):
                return ""

    def _read(self, size: int) -> bool:
        more = self._file.read(size)
        self._text, self._position = self._text[self._position :] + more, 0
        return bool(more)
