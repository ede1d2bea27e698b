r"""Files of architectures: compact, memory-mapped, whole or absent.

A file is a header, one compressed block a network, an index (where each block starts, numbers of
nodes and edges), a table in JSON (what the codes of nodes mean) and a trailer with the checksum of
the table, which holds that of all before it. The first network is the dictionary with which the
others are compressed: networks have much in common.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyg_ghn._files import atomic_path
from pyg_ghn.datasets.block import Networks, pack, unpack
from pyg_ghn.datasets.coding import Codes, Kind, decode, encode
from pyg_ghn.datasets.record import NetworkRecord
from pyg_ghn.datasets.shapes import Dim
from pyg_ghn.errors import DatasetError

VERSION = 1
_MAGIC = b"PyG-GHN"
_HEADER = struct.Struct("<7sB")  # magic, version
_TRAILER = struct.Struct("<QQ32s7sB")  # start and length of the table, its SHA-256, as above
_CHUNK = 1 << 24


class StoreWriter:
    r"""Writes a file of architectures, which appears when all are written, or not at all.

    .. code-block:: python

        with StoreWriter(path, split="test", info={"source": "generated"}) as writer:
            writer.append(record)

    The same networks in the same order make the same bytes, with the same version of zlib.

    Args:
        path (str or Path): The file.
        split (str): The split of DeepNets-1M that the networks belong to.
        info (dict, optional): What else is to be known of them, ready for JSON.
    """

    def __init__(self, path: str | os.PathLike, split: str, info: dict[str, Any] | None = None):
        self.path = Path(path)
        self.split = split
        self.info = dict(info or {})
        self._codes = Codes()
        self._dictionary: bytes | None = None
        self._starts = [_HEADER.size]
        self._sizes: list[tuple[int, int]] = []

    def __enter__(self) -> StoreWriter:
        with naming(self.path), ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(temporary.open("wb"))
            self._hash = hashlib.sha256()
            self._write(_HEADER.pack(_MAGIC, VERSION))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        with naming(self.path):
            self._stack.__exit__(*exception)

    def __len__(self) -> int:
        return len(self._sizes)

    def append(self, record: NetworkRecord) -> None:
        r"""Adds a network.

        Raises:
            DatasetError: If its graph is invalid or names parameters that the network lacks, or
                the file cannot be written.
            ArchitectureError: If its arguments describe no valid network.
        """
        try:
            network = encode(record, self._codes)
        except DatasetError as error:
            raise DatasetError(f"Network {len(self)} of {self.path}: {error}") from error
        self._append(network)

    def extend(self, store: Store, start: int = 0, stop: int | None = None) -> None:
        r"""Adds the networks :obj:`start` to :obj:`stop` of another file, faster than one by one.

        Raises:
            DatasetError: If the other file is damaged, or this one cannot be written.
        """
        kinds, new_codes = store.kinds, np.full(len(store.kinds), -1)
        for i in range(*slice(start, stop).indices(len(store))):
            network = store.read([i])
            used = np.concatenate([network.codes, network.rest_codes])
            for code in used[new_codes[used] < 0].tolist():
                new_codes[code] = self._codes[kinds[code]]
            codes, rest_codes = new_codes[network.codes], new_codes[network.rest_codes]
            self._append(network._replace(codes=codes, rest_codes=rest_codes))

    def _append(self, network: Networks) -> None:
        block = pack(network)
        if self._dictionary is None:
            self._dictionary, block = block, zlib.compress(block)
        else:
            compressor = zlib.compressobj(zdict=self._dictionary)
            block = compressor.compress(block) + compressor.flush()
        with naming(self.path):
            self._write(block)
        self._starts.append(self._starts[-1] + len(block))
        self._sizes.append((int(network.num_nodes[0]), int(network.num_edges[0])))

    def _finish(self, exception_type: type | None, *exception: Any) -> None:
        if exception_type is not None:
            return
        sizes = np.array(self._sizes, np.uint16).reshape(-1, 2)
        self._write(bytes(-self._starts[-1] % 8))
        self._write(np.array(self._starts, np.uint64).tobytes() + sizes.tobytes())
        table = {
            "split": self.split,
            "info": self.info,
            "num_networks": len(self),
            "kinds": self._codes.kinds,
            "sha256": self._hash.hexdigest(),
        }
        start, table = self._file.tell(), json.dumps(table, separators=(",", ":")).encode()
        self._write(table)
        checksum = hashlib.sha256(table).digest()
        self._write(_TRAILER.pack(start, len(table), checksum, _MAGIC, VERSION))

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


class Store:
    r"""A file of architectures, memory-mapped: opened at once, whatever its size, shared between
    processes, and picklable.

    Args:
        path (str or Path): The file.

    Raises:
        DatasetError: If it is missing, incomplete, damaged or of another version. Networks are
            checked as they are read; :meth:`verify` checks the whole file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with naming(self.path):
            if self.path.stat().st_size < _HEADER.size + _TRAILER.size:
                raise DatasetError(f"{self.path} is incomplete.{_HINT}")
            self._bytes = np.asarray(np.memmap(self.path, np.uint8, "r"))
        self._check_version(*_HEADER.unpack(self._bytes[: _HEADER.size].tobytes()))
        trailer = self._bytes[-_TRAILER.size :].tobytes()
        start, length, checksum, *magic = _TRAILER.unpack(trailer)
        self._check_version(*magic)
        table = self._bytes[start : start + length].tobytes()
        if hashlib.sha256(table).digest() != checksum:
            raise DatasetError(f"{self.path} is damaged: the table of networks is.{_HINT}")
        self._table = json.loads(table)
        self._table_start = start
        size = len(self)
        index = start - 4 * size
        self._sizes = self._bytes[index:start].view(np.uint16).reshape(size, 2)
        self._starts = self._bytes[index - 8 * (size + 1) : index].view(np.uint64)

    @property
    def split(self) -> str:
        r"""The split of DeepNets-1M that the networks belong to."""
        return self._table["split"]

    @property
    def info(self) -> dict[str, Any]:
        r"""What else is known of the networks."""
        return self._table["info"]

    @property
    def sha256(self) -> str:
        r"""The checksum of all networks."""
        return self._table["sha256"]

    @cached_property
    def kinds(self) -> list[Kind]:
        r"""What the codes of nodes mean."""
        return [
            Kind(op, name, formula and tuple(Dim(*dim) for dim in formula))
            for op, name, formula in self._table["kinds"]
        ]

    @property
    def num_nodes(self) -> np.ndarray:
        r"""The number of nodes of every network."""
        return self._sizes[:, 0]

    @property
    def num_edges(self) -> np.ndarray:
        r"""The number of edges of every network."""
        return self._sizes[:, 1]

    def __len__(self) -> int:
        return self._table["num_networks"]

    def __getitem__(self, index: int) -> NetworkRecord:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} networks, no network {index}.")
        return decode(self.read([index % len(self)]), self.kinds)

    def __iter__(self) -> Iterator[NetworkRecord]:
        return (self[i] for i in range(len(self)))

    def read(self, indices: Sequence[int]) -> Networks:
        r"""Reads several networks at once, given by numbers from 0.

        Raises:
            DatasetError: If one is damaged.
        """
        return unpack([self._uncompressed(index) for index in indices])

    def verify(self) -> None:
        r"""Reads the whole file.

        Raises:
            DatasetError: If a byte has changed since it was written.
        """
        checksum = hashlib.sha256()
        for start in range(0, self._table_start, _CHUNK):
            checksum.update(self._bytes[start : min(start + _CHUNK, self._table_start)])
        if checksum.hexdigest() != self.sha256:
            raise DatasetError(f"{self.path} is damaged: its checksum differs.{_HINT}")

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.path}, {len(self)} networks of {self.split})"

    @cached_property
    def _dictionary(self) -> bytes:
        return self._inflate(0, zlib.decompressobj())

    def _uncompressed(self, index: int) -> bytes:
        if index == 0:
            return self._dictionary
        return self._inflate(index, zlib.decompressobj(zdict=self._dictionary))

    def _inflate(self, index: int, decompressor: Any) -> bytes:
        start, end = self._starts[index : index + 2].tolist()
        try:
            block = decompressor.decompress(self._bytes[start:end])  # checks a checksum at its end
            if decompressor.eof:
                return block
        except zlib.error:
            pass
        raise DatasetError(f"{self.path} is damaged: network {index} is.{_HINT}")

    def _check_version(self, magic: bytes, version: int) -> None:
        if magic != _MAGIC:
            raise DatasetError(f"{self.path} is incomplete or no file of networks.{_HINT}")
        if version != VERSION:
            raise DatasetError(
                f"{self.path} has version {version}, but this pyg_ghn reads version {VERSION}."
                f"{_HINT}"
            )


_HINT = " Delete it and generate or convert it anew."


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into an error that names it."""
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}.") from error
