r"""Tables of networks: one line of JSON each."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import DatasetError, WriteError


class NetworkTable:
    r"""A file of networks. Its first line tells what it holds (:obj:`split`, :obj:`num_networks`,
    :obj:`source` ...), every other line is the arguments of a network, among them
    :obj:`num_nodes`, as JSON.

    It is memory-mapped: a million networks are opened at once and shared between processes. Where
    each line starts is in an index beside it, which is made when the file is first opened.

    Args:
        path (str or Path): The file.

    Raises:
        DatasetError: If the file is missing, incomplete or damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with naming(self.path), self.path.open("rb") as file:
            self.info: dict[str, Any] = _parse(self.path, 0, file.readline())
        self._bytes = np.memmap(self.path, np.uint8, "r")
        self._index = self._read_index()

    @property
    def num_nodes(self) -> np.ndarray:
        r"""The number of nodes of each network's graph."""
        return self._index[:-1, 1]

    def __len__(self) -> int:
        return len(self._index) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        r"""The arguments of a network."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} networks, but no network {index}.")
        index %= len(self)
        start, end = self._index[index : index + 2, 0].tolist()
        return _parse(self.path, index + 1, self._bytes[start:end].tobytes())

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)

    def _read_index(self) -> np.ndarray:
        # Rows of (start, number of nodes), and a last one with the size of the file
        path, shape = _index_path(self.path), (self.info.get("num_networks", 0) + 1, 2)
        with suppress(OSError, ValueError, EOFError):
            index = np.load(path, mmap_mode="r")
            if index.shape == shape and index[-1, 0] == self._bytes.size:
                return index
        lines = read_lines(self.path)
        rows, start = [], len(next(lines)[0])
        for line, net_args in lines:
            rows.append((start, net_args["num_nodes"]))
            start += len(line)
        index = np.array([*rows, (start, 0)], np.int64)
        with suppress(OSError), atomic_path(path) as temporary:  # the folder may be read-only
            np.save(temporary, index)
        return index


def write_table(
    path: str | os.PathLike, info: Mapping[str, Any], networks: Iterable[Mapping[str, Any] | bytes]
) -> None:
    r"""Writes a table, whole or not at all: :obj:`info`, what the first line tells, with
    :obj:`num_networks`, and the arguments of each network, or its line. The same networks make the
    same bytes."""
    path = Path(path)
    with naming(path), atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            for row in chain([info], networks):
                file.write(row if isinstance(row, bytes) else to_line(row))
        _index_path(path).unlink(missing_ok=True)


def to_line(row: Mapping[str, Any]) -> bytes:
    r"""A line of a table."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def read_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines of a table from the first one on, and what they say."""
    with naming(path), path.open("rb") as file:
        first = file.readline()
        info = _parse(path, 0, first)
        yield first, info
        number = 0
        for number, line in enumerate(file, 1):
            yield line, _parse(path, number, line)
        if number != info["num_networks"]:
            raise DatasetError(
                f"{path} is damaged: it has {number} of {info['num_networks']} networks. {_HINT}"
            )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    r"""Turns what goes wrong with a file into an error that names it."""
    try:
        yield
    except WriteError as error:  # which names it
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}.") from error


_HINT = "Delete it, and it is made again."


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    wanted = "num_nodes" if number else "num_networks"
    try:
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get(wanted), int):
            return row
        problem = f"has no {wanted!r}"
    except (ValueError, RecursionError) as error:
        problem = f"is no JSON ({error})"
    raise DatasetError(f"{path} is damaged: line {number + 1} {problem}. {_HINT}")


def _index_path(path: Path) -> Path:
    return path.with_suffix(".index.npy")
