r"""The zip files that :func:`torch.save` writes."""

from __future__ import annotations

import struct
import sys
import zipfile
from typing import Any, BinaryIO

from pyg_ghn.checkpoint.storages import Storage, dtype_of, tensor_globals
from pyg_ghn.checkpoint.stored import UnreadableError
from pyg_ghn.checkpoint.unpickle import Global, Span, Stream, read_pickle

_LOCAL_HEADER = struct.Struct("<4s22x2H")
_MAX_DIRECTORY = 1 << 23  # that of GHN-3-XL with its optimizer takes 73 kB


def read_archive(stream: Stream) -> Any:
    r"""Reads the pickle of a zip file, whose tensors stay in the file.

    Args:
        stream (Stream): The whole file.

    Raises:
        UnreadableError: If the file is damaged, not of :func:`torch.save`, or holds more than
            tensors and plain values.
    """
    spans = _entries(stream)
    if "data.pkl" not in spans:
        raise UnreadableError("is a zip file, but not one that torch.save wrote.")
    byteorder = spans.get("byteorder")
    if byteorder and stream.part(byteorder).read(byteorder.size) != sys.byteorder.encode():
        raise UnreadableError("was written by a machine of another kind.")

    def persistent(identifier: Any) -> Storage:
        match identifier:
            case ("storage", Global(name), str(key), _, int(numel)) if f"data/{key}" in spans:
                span = spans[f"data/{key}"]
                storage = Storage(dtype_of(name), numel, span.start)
                if 0 <= storage.nbytes <= span.size:
                    return storage
        raise UnreadableError("is damaged: a tensor has no storage of its size.")

    part = stream.part(spans["data.pkl"])
    return read_pickle(part, tensor_globals(part) | _PLAIN_GLOBALS, persistent)


# Of optimizers and schedulers; nothing of them is used.
_PLAIN_GLOBALS = {
    "collections.Counter": tuple,
    "torch.Size": lambda arguments: arguments[0],
    "torch.device": tuple,
}


class _Directory:
    """A file as :mod:`zipfile` reads it, which makes many objects of each part listed."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_DIRECTORY:
            raise ValueError("its directory is too long.")
        return self._read(size)


def _entries(stream: Stream) -> dict[str, Span]:
    """Where the files of the archive lie, by name without the folder that they all are in."""
    try:
        with zipfile.ZipFile(_Directory(stream.file)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise UnreadableError(f"is damaged or incomplete: {error}") from error
    spans: dict[str, Span] = {}
    for entry in entries:
        name = entry.filename.partition("/")[2]
        if name and name in spans:  # programs differ in which of them they read
            raise UnreadableError(f"is damaged: it has two parts '{name}'.")
        spans[name] = _span(stream, entry)
    return spans


def _span(stream: Stream, entry: zipfile.ZipInfo) -> Span:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise UnreadableError("is a compressed zip file, which torch.save does not write.")
    stream.position = entry.header_offset
    header = stream.read(_LOCAL_HEADER.size) if entry.header_offset >= 0 else b""
    if len(header) == _LOCAL_HEADER.size:
        magic, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        start = stream.position + name_size + extra_size
        if magic == b"PK\3\4" and start + entry.file_size <= stream.stop:
            return Span(start, entry.file_size)
    raise UnreadableError(f"is damaged or incomplete: its part '{entry.filename}' is cut off.")
