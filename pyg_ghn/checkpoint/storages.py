r"""The pickles that :func:`torch.save` and :func:`joblib.dump` make of tensors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pyg_ghn.checkpoint.stored import StoredTensor, UnreadableError
from pyg_ghn.checkpoint.unpickle import Call, Global, Span, Stream, read_pickle

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_MAX_DIMS = 8


@dataclass(eq=False)
class Storage:
    r"""A run of numbers in a file."""

    dtype: torch.dtype
    numel: int
    start: int | None = None  # in the file, once it is known

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


def tensor_globals(stream: Stream) -> dict[str, Call | None]:
    r"""The globals that tensors need, and what takes their place."""
    return {
        **dict.fromkeys(_DTYPES),
        "collections.OrderedDict": _ordered_dict,
        "torch._utils._rebuild_tensor_v2": partial(_tensor, stream.file),
        "torch._utils._rebuild_parameter": _parameter,
        "torch.storage._load_from_bytes": partial(_storage, stream),
    }


def read_legacy(stream: Stream, admitted: dict[str, Call | None]) -> Any:
    r"""Reads what ``torch.save(..., _use_new_zipfile_serialization=False)`` writes: five pickles,
    then the storages. Joblib keeps each storage in this form."""
    if stream.read(len(LEGACY_MAGIC)) != LEGACY_MAGIC:
        raise UnreadableError("holds a tensor whose bytes were not written by torch.save.")
    protocol, system = read_pickle(stream, {}), read_pickle(stream, {})
    little_endian = isinstance(system, dict) and system.get("little_endian")
    if protocol != _LEGACY_PROTOCOL or little_endian is not (sys.byteorder == "little"):
        raise UnreadableError("was written by a machine of another kind.")
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        match identifier:
            case ("storage", Global(name), str(key), _, int(numel), None) if numel >= 0:
                return storages.setdefault(key, Storage(dtype_of(name), numel))
        raise UnreadableError("is damaged: a storage has no valid description.")

    content = read_pickle(stream, admitted, persistent)
    keys = read_pickle(stream, {})
    valid = isinstance(keys, list) and all(type(key) is str for key in keys)
    if not valid or sorted(keys) != sorted(storages):
        raise UnreadableError("is damaged: it does not hold the storages that it describes.")
    for storage in (storages[key] for key in keys):
        if int.from_bytes(stream.read(8), "little") != storage.numel:
            raise UnreadableError("is damaged: a storage has another size than described.")
        storage.start = stream.tell()
        if len(stream.read(storage.nbytes)) != storage.nbytes:
            raise UnreadableError("is damaged or incomplete: a storage is cut off.")
    return content


def dtype_of(name: str) -> torch.dtype:
    r"""The numbers in a storage class."""
    if name not in _DTYPES:
        raise UnreadableError(f"is damaged: `{name}` is no storage.")
    return _DTYPES[name]


def _ordered_dict(arguments: tuple) -> dict:
    if arguments:
        raise UnreadableError("is damaged: an OrderedDict is made of something.")
    return {}


def _parameter(arguments: tuple) -> StoredTensor:
    match arguments:
        case (StoredTensor() as tensor, *_):
            return tensor
    raise UnreadableError("is damaged: a parameter has no tensor.")


def _storage(stream: Stream, arguments: tuple) -> Storage:
    match arguments:
        case (Span() as span,):
            storage = read_legacy(stream.part(span), dict.fromkeys(_DTYPES))
            if isinstance(storage, Storage):
                return storage
    raise UnreadableError("holds bytes that are no storage of a tensor.")


def _tensor(file: BinaryIO, arguments: tuple) -> StoredTensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_):
            numbers = (offset, *shape, *stride)
            valid = all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
            if valid and len(shape) == len(stride) <= _MAX_DIMS and prod(shape) <= storage.numel:
                extent = _extent(shape, stride)
                if offset + extent <= storage.numel:
                    read = partial(_read, file, storage, offset, shape, stride)
                    return StoredTensor(storage.dtype, shape, read)
    raise UnreadableError("holds a tensor that does not fit its storage.")


def _extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Length of the part of a storage that a tensor covers."""
    if not prod(shape):
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _read(
    file: BinaryIO, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    # Not mapped: numbers in a pickle are not aligned, and training may write the file anew.
    itemsize = storage.dtype.itemsize
    data = torch.empty(_extent(shape, stride) * itemsize, dtype=torch.uint8)
    file.seek(storage.start + offset * itemsize)
    rest = memoryview(data.numpy())
    while rest:
        count = file.readinto(rest)  # at most 2 GB at once
        if not count:
            raise UnreadableError("became shorter while it was read.")
        rest = rest[count:]
    return data.view(storage.dtype).as_strided(shape, stride).contiguous()
