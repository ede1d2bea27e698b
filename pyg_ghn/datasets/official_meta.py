r"""The meta files of DeepNets-1M: the arguments of each network and the tables of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_ghn.datasets.json_stream import JsonStream
from pyg_ghn.errors import DatasetError


@dataclass(frozen=True)
class OfficialMeta:
    r"""What a meta file says of one split. The arguments stay in the file: those of the train
    split's million networks would take gigabytes."""

    path: Path
    split: str
    num_networks: int
    primitives: dict[int, str]
    r"""Id to name of a primitive."""
    names: dict[int, str]
    r"""Id to name of a parameter."""

    def net_args(self) -> Iterator[dict[str, Any]]:
        r"""Reads the arguments of each network anew."""
        with _open(self.path) as stream:
            for key in _split_members(stream, self.split):
                if key == "nets":
                    yield from stream.items()
                else:
                    stream.value()


def read_meta(path: Path, split: str) -> OfficialMeta:
    r"""Reads all of a split but the networks, which are counted.

    Raises:
        DatasetError: If the file is missing, damaged or does not have the split.
    """
    count, tables = None, None
    with _open(path) as stream:
        for key in _split_members(stream, split):
            if key == "nets":
                count = sum(1 for _ in stream.items())
            else:
                value = stream.value()
                tables = value if key == "meta" else tables
    if count is None or tables is None:
        absent = "meta" if tables is None else "nets"
        raise DatasetError(f"{path} has no {absent!r} of the split {split!r}.")
    primitives, names = (
        _table(path, split, tables, key) for key in ("primitives_ext", "unique_op_names")
    )
    return OfficialMeta(path, split, count, primitives, names)


@contextmanager
def _open(path: Path) -> Iterator[JsonStream]:
    try:
        with path.open(encoding="utf-8") as file:
            yield JsonStream(file)
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing.") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged: {error}. Fetch it again.") from error


def _split_members(stream: JsonStream, split: str) -> Iterator[str]:
    found = []
    for key in stream.members():
        found.append(key)
        if key == split:
            yield from stream.members()
        else:
            stream.value()
    if split not in found:
        raise ValueError(f"it has no split {split!r} but {found}")


def _table(path: Path, split: str, tables: Any, key: str) -> dict[int, str]:
    try:
        return {int(id_): str(name) for id_, name in tables[key].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: {key!r} of the split {split!r} is no table from id to name."
        ) from error
