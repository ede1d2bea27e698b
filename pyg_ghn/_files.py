r"""Files that appear whole or not at all, made by one process at a time."""

import errno
import glob
import os
import re
import socket
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pyg_ghn.errors import WriteError

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
# Machine, process and random digits: writers at the same time do not meet.
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})([0-9a-f]{8})[0-9a-f]{16}(\.\w+)?")
_STALE_AFTER = 86400  # seconds without a change, where the process can't be looked up
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What torch and safetensors say when the system can't write.
_WRITE_FAILED = re.compile(
    r"failed writing|write failed|unexpected pos|write\(\): fd|os error \d+", re.I
)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    r"""Gives a temporary name beside :obj:`path` to write to, which becomes :obj:`path` at the end
    of the block; after an exception, a :class:`WriteError` if there is no place for such a file or
    the disk is full, nothing is left of it. Folders are made as needed. What killed writers of the
    same path left is deleted."""
    path = Path(path)
    token = f"{_HOST}{os.getpid():08x}{uuid.uuid4().hex[:16]}"
    try:
        if path.is_dir():  # else known only once all is written
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = path.with_name(f".{path.stem}.{token}{path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{glob.escape(path.stem)}.*"):
            if other.suffix == path.suffix and _is_stale(other):
                other.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # what the umask leaves
    except OSError as error:
        raise WriteError(f"Can't write to {path}: {error}.") from error
    try:
        yield temporary
        temporary.chmod(mode)  # some writers make a private file of their own in its place
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a crash must not leave the new name on empty blocks
        temporary.replace(path)
    except WriteError:  # of a file within this one's block
        raise
    except Exception as error:
        found: BaseException | None = error
        while found is not None:  # what fails later, as a writer closes, hides the reason
            if isinstance(found, OSError) and found.errno in _FULL:
                raise WriteError(f"Can't write {path}: {found.strerror}.") from error
            if isinstance(found, (RuntimeError, SafetensorError)) and _WRITE_FAILED.search(
                str(found)
            ):
                raise WriteError(f"Can't write {path}: the disk is full or fails.") from error
            found = found.__cause__ or found.__context__
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_stale(temporary: Path) -> bool:
    """Whether nobody writes to a temporary file any more."""
    if not (match := _TEMPORARY.fullmatch(temporary.name)):
        return False
    try:
        if match[1] == _HOST:
            os.kill(int(match[2], 16), 0)
        return time.time() - temporary.stat().st_mtime > _STALE_AFTER
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or the file is gone
        return False


@contextmanager
def one_process(path: str | os.PathLike) -> Iterator[None]:
    r"""Lets one of the processes that want :obj:`path` at the same time into the block at once. The
    others have to look again whether it is there. Folders are made as needed."""
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def sweep(folder: str | os.PathLike) -> None:
    """Deletes what killed writers of :func:`atomic_path` left in a folder that nobody writes to."""
    for path in Path(folder).glob(".*"):
        if _TEMPORARY.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
