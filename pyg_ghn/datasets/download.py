r"""Large files over HTTP: resumed, checked, complete or absent."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.request
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from pyg_ghn._files import one_process
from pyg_ghn.errors import DatasetError

BLOCK = 1 << 20
TIMEOUT = 60
r"""Seconds without any data after which a connection counts as interrupted."""
TRIES = 3
r"""Connections in a row that may break before they bring a block."""
PAUSE = 1.0
r"""Seconds before the second of them, twice that before the third."""

_INTERRUPTIONS = (URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)


class RemoteFile(NamedTuple):
    r"""A file on a site."""

    name: str
    size: int
    r"""Bytes, to the two or three digits that the site's documentation tells."""
    md5: str


def download_file(
    file: RemoteFile, folder: str | os.PathLike, url_prefix: str, progress: bool = True
) -> Path:
    r"""Downloads a file, unless it is there. Until it is complete and its md5 sum is right, it is
    called :obj:`NAME.part`; a later call goes on with that.

    Args:
        file (RemoteFile): What to download.
        folder (str or os.PathLike): Where it goes; made as needed.
        url_prefix (str): Its address without the name.
        progress (bool, optional): Whether to show a progress bar. (default: :obj:`True`)

    Returns:
        pathlib.Path: The file.

    Raises:
        DatasetError: If the site can't be reached or does not have the file, the connection breaks
            again and again, the md5 sum is wrong, or the disk is full.
    """
    target = Path(folder) / file.name
    if target.exists():
        return target
    url, part = f"{url_prefix.rstrip('/')}/{file.name}", target.with_name(f"{file.name}.part")
    try:
        with one_process(target):
            if not target.exists():  # another process may have been faster
                _download(file, url, part, progress)
                part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(_explained(error, url, part)) from error
    return target


def _download(file: RemoteFile, url: str, path: Path, progress: bool) -> None:
    try:
        with path.open("ab+") as out, _progress_bar(file, progress) as bar:
            part = _Part(out, bar)
            if part.md5 != file.md5:
                _complete(part, url, max_size=file.size + file.size // 10)
            os.fsync(out.fileno())
    finally:
        if path.exists() and not path.stat().st_size:
            path.unlink()
    if part.md5 != file.md5:
        path.unlink()
        raise DatasetError(
            f"{url} is not what it should be: {part.size} bytes with the md5 sum {part.md5} "
            f"instead of {file.md5}. Nothing of it was kept; try again, or fetch {file.name} from "
            f"elsewhere and put it into {path.parent}."
        )


class _Part:
    """A file that grows at its end, and its md5 sum."""

    def __init__(self, out: BinaryIO, bar: tqdm):
        self._out, self._bar = out, bar
        self._hash, self.size = hashlib.md5(usedforsecurity=False), 0
        out.seek(0)
        while block := out.read(BLOCK):
            self._add(block)

    @property
    def md5(self) -> str:
        return self._hash.hexdigest()

    def append(self, block: bytes) -> None:
        self._out.write(block)
        self._add(block)

    def clear(self) -> None:
        self._out.truncate(0)
        self._hash, self.size = hashlib.md5(usedforsecurity=False), 0
        self._bar.reset()

    def reserve(self, total: int) -> None:
        """Raises an error if there will not be enough space."""
        self._bar.total = total
        free = shutil.disk_usage(self._out.name).free
        if free < total - self.size:
            raise OSError(errno.ENOSPC, f"{total - self.size} more bytes needed, {free} free")

    def _add(self, block: bytes) -> None:
        self._hash.update(block)
        self.size += len(block)
        self._bar.update(len(block))


def _complete(part: _Part, url: str, max_size: int) -> None:
    # Connections break while gigabytes are on their way; the next one goes on from there.
    tries, most = 0, part.size
    while True:
        try:
            if _receive(part, url, max_size):
                return
            problem: Exception = ConnectionError("it was closed too early")
        except HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not part.size:
                raise
            problem = error
            part.clear()  # as long as the file or longer, yet not the file
        except _INTERRUPTIONS as error:
            problem = error
        tries = 0 if part.size >= most + BLOCK else tries + 1
        most = max(most, part.size)
        if tries == TRIES:
            raise problem
        time.sleep(PAUSE * tries)


def _receive(part: _Part, url: str, max_size: int) -> bool:
    """Reads from one connection; returns whether it brought all that it should."""
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.clear()  # all of it, whatever was asked for
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            raise http.client.HTTPException("the server sent another part than was asked for")
        total = None
        if response.length is not None:
            total = part.size + response.length
            part.reserve(total)
        while part.size <= max_size and (block := response.read1(BLOCK)):
            part.append(block)
    return total is None or part.size >= min(total, max_size)


def _explained(error: Exception, url: str, path: Path) -> str:
    kept = path.stat().st_size if path.exists() else 0
    resume = f" {kept} bytes are kept in {path}, a new try goes on from there." if kept else ""
    if isinstance(error, HTTPError):
        return f"{url} can't be had: HTTP status {error.code} ({error.reason}).{resume}"
    if isinstance(error, _INTERRUPTIONS):
        reason = getattr(error, "reason", error)
        return (
            f"{url} can't be reached, or the connection broke: {reason}.{resume} A copy from "
            f"elsewhere belongs into {path.parent}."
        )
    if error.errno == errno.ENOSPC:
        return f"The disk of {path.parent} is full: {error.strerror}.{resume}"
    return f"Downloading {url} to {path.parent} failed: {error}.{resume}"


def _progress_bar(file: RemoteFile, progress: bool) -> tqdm:
    return tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, disable=not progress)
