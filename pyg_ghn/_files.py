r"""Files that appear whole or not at all, made by one process at a time."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside :obj:`path` to write to, which becomes :obj:`path` at the end
    of the block; after an exception nothing is left of it. Folders are made as needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, with the same suffix: writers at the same time do not meet.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # what the umask leaves
        yield temporary
        temporary.chmod(mode)  # some writers make a private file of their own in its place
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a crash must not leave the new name on empty blocks
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def one_process(path: str | os.PathLike) -> Iterator[None]:
    """Lets one process at a time into the block: all processes of a training run want :obj:`path`
    at the same time. The others have to look again whether it is there. Folders are made as
    needed."""
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
        if re.fullmatch(r"\..+\.[0-9a-f]{32}(\.\w+)?", path.name):
            path.unlink(missing_ok=True)
