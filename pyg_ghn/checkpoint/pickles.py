r"""Reading of what :func:`torch.save` and :func:`joblib.dump` write, without running code.

Every pickle first goes through :class:`_Unpickler`, which knows some forty operations and, in place
of the globals that tensors need, stand-ins of this file. Then ``torch.load(weights_only=True)``
reads the files of :func:`torch.save`; a joblib file contains one of these for each tensor."""

import argparse
import bz2
import io
import lzma
import os
import pickle
import pickletools
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MAX_OPERATIONS = 1_000_000  # an optimizer's state for GHN-3-XL takes some 50,000
MAX_GROWTH = 8  # weights hardly compress: what grows more was made to fill a disk
_MAX_READ = 1 << 20  # longer bytes of joblib stay in the file

_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# First bytes of a compressed file and what decompresses it.
_DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), zlib.decompressobj),
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}
# What is often found in place of a checkpoint.
_FOREIGN = {
    b"version https://git-lfs": "is only a pointer of Git LFS; get the file by `git lfs pull`.",
    b"<": "is a page of HTML or XML, such as an error message; download the file again.",
    b"": "is no checkpoint: neither safetensors nor written by torch.save or joblib.dump.",
}
_BLANK = b" \t\r\n\xef\xbb\xbf"  # in front of text


class UnreadableError(ValueError):
    r"""A file is damaged or holds something that is not allowed. The message continues a sentence
    that starts with the name of the file."""


def read_pickled(path: Path) -> tuple[Any, int]:
    r"""Reads a file of :func:`torch.save` (zip files and those from before torch 1.6) or
    :func:`joblib.dump`, compressed or not. Tensors of a zip file are mapped into memory. Returns
    the content, and the size of the file once decompressed."""
    with path.open("rb") as file:
        decompressor = _by_magic(_DECOMPRESSORS, _head(file))
        if decompressor is None:
            # Torch goes by this suffix, and maps no file but by its path.
            source = file if path.suffix == ".safetensors" else path
            return _read(file, source), path.stat().st_size
        with _decompressed(file, decompressor()) as plain:
            return _read(plain, plain), os.fstat(plain.fileno()).st_size


def _read(file: BinaryIO, source: Path | BinaryIO) -> Any:
    head, operations = _head(file), count(1)
    if head.startswith(b"PK"):
        _check_archive(file, operations)
        file.seek(0)
        return _torch_load(source, mmap=isinstance(source, Path))
    if head.startswith(_TORCH_LEGACY):
        return _read_legacy(file, operations)
    if head.startswith(b"\x80"):
        return _JoblibUnpickler(file, operations).load()
    raise UnreadableError(_by_magic(_FOREIGN, head.lstrip(_BLANK)))


def _check_archive(file: BinaryIO, operations: Iterator[int]) -> None:
    """Reads the pickle of a zip file with stand-ins, and all of it for the checksums."""
    with _failing_as_damaged(), zipfile.ZipFile(file) as archive:
        parts: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = entry.filename.partition("/")[2]
            if entry.compress_type != zipfile.ZIP_STORED:
                raise UnreadableError("is a compressed zip file, unlike those of torch.save.")
            if name and name in parts:  # programs differ in which of them they read
                raise UnreadableError(f"is damaged: it has two parts '{name}'.")
            parts[name] = entry
        if not any(entry.CRC for entry in parts.values()):
            for entry in parts.values():  # torch can be told to write none
                del entry.CRC
        if "data.pkl" not in parts:
            raise UnreadableError("is a zip file, but not one that torch.save wrote.")
        with archive.open(parts["data.pkl"]) as pickled:
            _Unpickler(pickled, operations).load()
        for entry in parts.values():
            with archive.open(entry) as part:
                while part.read(_MAX_READ):
                    pass


def _read_legacy(file: BinaryIO, operations: Iterator[int]) -> Any:
    """The format from before torch 1.6, from here on: five pickles, then the numbers."""
    start = file.tell()
    for _ in range(5):
        _Unpickler(file, operations).load()
    file.seek(start)
    return _torch_load(file)


def _torch_load(source: Path | BinaryIO, mmap: bool | None = None) -> Any:
    with _failing_as_damaged(), torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)


@contextmanager
def _failing_as_damaged() -> Iterator[None]:
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:  # whatever zipfile and torch run into
        what = str(error).partition("\n")[0].partition(" (Could this")[0][:200]
        raise UnreadableError(f"is damaged or incomplete: {what}") from error


class _Unpickler(pickle._Unpickler):
    """A pickle machine of few operations, on plain values and what the stand-ins return: nothing is
    imported, no object gets attributes. All pickles of a file share the count of operations, so
    that a small file cannot keep the reader busy forever."""

    def __init__(self, file: BinaryIO, operations: Iterator[int]) -> None:
        super().__init__(file, fix_imports=False)
        self.file, self.operations = file, operations
        self.stand_ins = _OF_TORCH

    def load(self) -> Any:
        try:
            return super().load()
        except UnreadableError:
            raise
        except Exception as error:  # a damaged pickle fails in any way; its values may be huge
            what = f"{type(error).__name__} in its pickle"
            raise UnreadableError(f"is damaged or incomplete: {what}.") from error

    def find_class(self, module: str, name: str) -> Any:
        name = f"{module}.{name}"
        if name not in self.stand_ins:
            raise UnreadableError(
                f"holds `{name[:200]}`, which is neither a tensor nor a plain value: refused, as "
                "reading must never run code. If you trust the file, load it with the program that "
                "wrote it and save its state dict of tensors alone: "
                "`torch.save({'state_dict': ..., 'config': {}}, path)`."
            )
        return self.stand_ins[name]

    def persistent_load(self, pid: Any) -> None:
        match pid:
            case ("storage", _, str(), _, int(), *_):
                return
        raise UnreadableError("is damaged: a tensor has no storage.")

    def load_build(self) -> None:
        """State dicts have attributes, such as the versions of modules, that nobody needs here."""
        self.stack.pop()

    def load_setitem(self) -> None:
        self._update([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise UnreadableError("is damaged, or changes what is no dictionary: refused.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Others can be made such that hashing or comparing them takes forever.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 31):
                raise UnreadableError("holds a dictionary with keys other than names and numbers.")
            self.stack[-1][key] = value


class _JoblibUnpickler(_Unpickler):
    """In a joblib file, each tensor contains a file of :func:`torch.save`; it is read in place."""

    def __init__(self, file: BinaryIO, operations: Iterator[int]) -> None:
        super().__init__(file, operations)
        self.unread = os.fstat(file.fileno()).st_size
        self.stand_ins = {
            "collections.OrderedDict": _ordered_dict,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch.storage._load_from_bytes": self.storage,
        }

    def persistent_load(self, pid: Any) -> None:
        raise UnreadableError("refers to data outside of its pickle, which is not allowed.")

    def load_binbytes(self) -> None:
        self._skip(int.from_bytes(self.read(4), "little"))

    def load_binbytes8(self) -> None:
        self._skip(int.from_bytes(self.read(8), "little"))

    def _skip(self, size: int) -> None:
        """Long bytes stay in the file: pickles never put them into a frame."""
        if size <= _MAX_READ:
            self.append(self.read(size))
        else:
            start = self.file.tell()
            self.append((start, self.file.seek(start + size)))

    def storage(self, data: bytes | tuple[int, int]) -> Any:
        here = self.file.tell()
        if isinstance(data, bytes):
            file, start, stop = io.BytesIO(data), 0, len(data)
        else:
            file, (start, stop) = self.file, data
        self.unread -= stop - start
        if self.unread < 0:
            raise UnreadableError("is damaged: it uses the same data more than once.")
        file.seek(start)
        if file.read(len(_TORCH_LEGACY)) != _TORCH_LEGACY:
            raise UnreadableError("holds a tensor whose bytes were not written by torch.save.")
        file.seek(start)
        storage = _read_legacy(file, self.operations)
        if file.tell() != stop or not isinstance(storage, torch.storage.TypedStorage):
            raise UnreadableError("holds bytes that are no storage of a tensor.")
        self.file.seek(here)
        return storage


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    numbers = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    return numbers.as_strided(size, stride, offset)


def _ordered_dict() -> dict:
    """Takes no items, whose keys could be made such that hashing them takes forever."""
    return {}


class _Anything:
    """Takes the place of what torch.load will make."""

    def __new__(cls, *_: Any) -> Any:
        return {}


_STORAGES = "Double Float Half BFloat16 Long Int Short Char Byte Bool".split()
_OF_TORCH: dict[str, Any] = {
    **{f"torch.{kind}Storage": None for kind in _STORAGES},
    "argparse.Namespace": _Anything,
    "collections.Counter": dict.copy,  # takes a dictionary only, for the same reason
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _Anything,
    "torch._utils._rebuild_parameter": _Anything,
    "torch._utils._rebuild_tensor_v2": _Anything,
    "torch.device": _Anything,
}
_OPERATIONS = frozenset(
    "PROTO FRAME STOP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE "
    "BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 MARK EMPTY_TUPLE EMPTY_LIST "
    "EMPTY_DICT TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS BINPUT LONG_BINPUT "
    "MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL NEWOBJ REDUCE BUILD BINPERSID".split()
)


def _operation(name: str, method: str) -> Callable[[_Unpickler], None]:
    def run(machine: _Unpickler) -> None:
        if name not in _OPERATIONS:
            raise UnreadableError(
                f"holds the pickle operation {name}, which tensors and plain values don't need: "
                "refused, as reading must never run code."
            )
        if next(machine.operations) > MAX_OPERATIONS:
            raise UnreadableError(
                f"is no checkpoint of a GHN: it takes more than {MAX_OPERATIONS:,} operations."
            )
        getattr(machine, method)()

    return run


_Unpickler.dispatch = {
    ord(op.code): _operation(op.name, pickle._Unpickler.dispatch[ord(op.code)].__name__)
    for op in pickletools.opcodes
}


@contextmanager
def _decompressed(file: BinaryIO, decompressor: Any) -> Iterator[BinaryIO]:
    """A temporary file with the content of a compressed one."""
    file.seek(0)
    with tempfile.TemporaryFile() as out:
        while not decompressor.eof:
            # zlib gives back what it did not come to, the others keep it.
            data = getattr(decompressor, "unconsumed_tail", b"")
            if not data and getattr(decompressor, "needs_input", True):
                data = file.read(_MAX_READ)
            try:
                piece = decompressor.decompress(data, _MAX_READ)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                raise UnreadableError(f"is damaged: {error}.") from error
            if not data and not piece and not decompressor.eof:
                raise UnreadableError("is damaged or incomplete: its compressed data is cut off.")
            out.write(piece)
            if out.tell() > MAX_GROWTH * (file.tell() + _MAX_READ):
                raise UnreadableError(f"grows to more than {MAX_GROWTH} times its size: refused.")
        out.seek(0)
        yield out


def _by_magic(table: dict[bytes, Any], head: bytes) -> Any:
    return next((value for magic, value in table.items() if head.startswith(magic)), None)


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(32)
    file.seek(0)
    return head
