r"""Tells the kinds of checkpoint file apart and opens them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from pyg_ghn.checkpoint.archive import read_archive
from pyg_ghn.checkpoint.compressed import DECOMPRESSORS, decompress
from pyg_ghn.checkpoint.storages import LEGACY_MAGIC, read_legacy, tensor_globals
from pyg_ghn.checkpoint.stored import StoredGHN, StoredTensor, UnreadableError
from pyg_ghn.checkpoint.unpickle import Stream, read_pickle

CONFIG = "config.json"  # beside weights without a config of their own
_MAX_CONFIG = 1 << 20

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
# First bytes and what reads the file.
_PICKLED = {
    b"PK": read_archive,
    LEGACY_MAGIC: lambda stream: read_legacy(stream, tensor_globals(stream)),
    b"\x80": lambda stream: read_pickle(stream, tensor_globals(stream)),
}
# What is often found in place of a checkpoint.
_FOREIGN = {
    b"version https://git-lfs": "is only a pointer of Git LFS; get the file by `git lfs pull`.",
    b"<": "is a page of HTML or XML, such as an error message; download the file again.",
    b"": "is no checkpoint: neither safetensors nor written by torch.save or joblib.dump.",
}
_HEAD = 32
_BLANK = b" \t\r\n\xef\xbb\xbf"  # in front of text


@contextmanager
def opened(path: Path) -> Iterator[StoredGHN]:
    r"""Opens a checkpoint, whose tensors can be read as long as it is open.

    Raises:
        UnreadableError: If the file is no checkpoint, is damaged, or holds more than tensors and
            plain values.
    """
    if is_safetensors(path):
        with opened_safetensors(path) as weights:
            yield _of_safetensors(weights, path.with_name(CONFIG))
        return
    with path.open("rb", buffering=0) as file:  # a buffer triples the time of large reads
        decompressor = _by_magic(DECOMPRESSORS, _head(file))
        if decompressor is None:
            yield _of_pickle(file)
            return
        with decompress(file, decompressor()) as plain:
            yield _of_pickle(plain)


def is_safetensors(path: Path) -> bool:
    r"""Whether the file starts as safetensors do: eight bytes of length, less than a terabyte, and
    a JSON object. A shorter length can look like the first bytes of any other kind of file."""
    with path.open("rb") as file:
        return file.read(9)[5:] == b"\0\0\0{"


@contextmanager
def opened_safetensors(path: Path) -> Iterator[Any]:
    r"""Opens a safetensors file.

    Raises:
        UnreadableError: If it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as weights:
            yield weights
    except SafetensorError as error:
        raise UnreadableError(f"is damaged or incomplete: {error}") from error


def _of_safetensors(weights: Any, beside: Path) -> StoredGHN:
    state = {}
    for name in weights.keys():  # noqa: SIM118
        part = weights.get_slice(name)
        dtype, shape = _DTYPES.get(part.get_dtype()), tuple(part.get_shape())
        state[name] = StoredTensor(dtype, shape, partial(weights.get_tensor, name))
    config = (weights.metadata() or {}).get("config")
    if config is None and beside.is_file():
        with beside.open("rb") as file:
            config = file.read(_MAX_CONFIG + 1)
    if config and len(config) > _MAX_CONFIG:
        raise UnreadableError(f"has a config of more than {_MAX_CONFIG:,} bytes.")
    try:
        return StoredGHN(state, {**json.loads(config or "{}")})
    except (ValueError, TypeError, RecursionError) as error:
        raise UnreadableError(f"has a config that is no JSON object: {error}.") from error


def _of_pickle(file: BinaryIO) -> StoredGHN:
    size = file.seek(0, os.SEEK_END)
    read = _by_magic(_PICKLED, _head(file))
    if read is None:
        raise UnreadableError(_by_magic(_FOREIGN, _head(file).lstrip(_BLANK)))
    content = read(Stream(file, 0, size))
    if not isinstance(content, dict):
        content = {}
    bare = content and all(isinstance(value, StoredTensor) for value in content.values())
    state = content if bare else content.get("state_dict")
    config = (None if bare else content.get("config")) or {}
    if not isinstance(state, dict) or not all(isinstance(t, StoredTensor) for t in state.values()):
        raise UnreadableError("holds no `state_dict` of tensors.")
    if not isinstance(config, dict):
        raise UnreadableError("has a `config` that is no dictionary.")
    if sum(tensor.nbytes for tensor in state.values()) > size:
        raise UnreadableError("is damaged: it describes more numbers than it holds.")
    return StoredGHN({str(name): tensor for name, tensor in state.items()}, config)


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    return head


def _by_magic(table: dict[bytes, Any], head: bytes) -> Any:
    return next((value for magic, value in table.items() if head.startswith(magic)), None)
