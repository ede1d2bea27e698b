r"""Compressed files, as ``joblib.dump(..., compress=...)`` writes them."""

from __future__ import annotations

import bz2
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from pyg_ghn.checkpoint.stored import UnreadableError

# First bytes and what decompresses the rest.
DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), zlib.decompressobj),
    b"\x1f\x8b": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}
# Weights hardly compress. What grows more is no checkpoint, but made to fill a disk.
MAX_GROWTH = 8
_PIECE = 1 << 20


def decompress(file: BinaryIO, decompressor: Any) -> BinaryIO:
    r"""Decompresses a file into a temporary one.

    Args:
        file (BinaryIO): The file, at its start.
        decompressor (object): Made by one of :obj:`DECOMPRESSORS`.

    Raises:
        UnreadableError: If the file is damaged, or grows more than weights can.
    """
    out = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        for piece in _pieces(file, decompressor):
            out.write(piece)
            if out.tell() > MAX_GROWTH * (file.tell() + _PIECE):
                raise UnreadableError(f"grows to more than {MAX_GROWTH} times its size: refused.")
    except BaseException:
        out.close()
        raise
    return out


def _pieces(file: BinaryIO, decompressor: Any) -> Iterator[bytes]:
    while not decompressor.eof:
        # zlib gives back what it did not come to, the others keep it.
        data = getattr(decompressor, "unconsumed_tail", b"")
        if not data and getattr(decompressor, "needs_input", True):
            data = file.read(_PIECE)
        try:
            piece = decompressor.decompress(data, _PIECE)
        except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
            raise UnreadableError(f"is damaged: {error}.") from error
        if not data and not piece and not decompressor.eof:
            raise UnreadableError("is damaged or incomplete: its compressed data is cut off.")
        yield piece
