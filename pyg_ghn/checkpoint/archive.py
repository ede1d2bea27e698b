r"""The zip files that :func:`torch.save` writes."""

from __future__ import annotations

import struct
import sys
import zipfile
from typing import Any

from pyg_ghn.checkpoint.storages import Storage, dtype_of, tensor_globals
from pyg_ghn.checkpoint.stored import UnreadableError
from pyg_ghn.checkpoint.unpickle import Global, Span, Stream, read_pickle

_LOCAL_HEADER = struct.Struct("<4s22x2H")


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
_PLAIN_GLOBALS = dict.fromkeys(("collections.Counter", "torch.Size", "torch.device"), tuple)


def _entries(stream: Stream) -> dict[str, Span]:
    """Where the files of the archive lie, by name without the folder that they all are in."""
    try:
        with zipfile.ZipFile(stream.file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise UnreadableError(f"is damaged or incomplete: {error}") from error
    return {entry.filename.partition("/")[2]: _span(stream, entry) for entry in entries}


def _span(stream: Stream, entry: zipfile.ZipInfo) -> Span:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise UnreadableError("is a compressed zip file, which torch.save does not write.")
    stream.position = max(entry.header_offset, 0)  # less than 0 in damaged files
    header = stream.read(_LOCAL_HEADER.size)
    if len(header) == _LOCAL_HEADER.size:
        magic, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        start = stream.position + name_size + extra_size
        if magic == b"PK\3\4" and start + entry.file_size <= stream.stop:
            return Span(start, entry.file_size)
    raise UnreadableError(f"is damaged or incomplete: its part '{entry.filename}' is cut off.")
