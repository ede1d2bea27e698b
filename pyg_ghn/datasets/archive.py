r"""Files out of an archive that somebody else made."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import DatasetError


def extract_members(archive: Path, names: Sequence[str], folder: Path, max_bytes: int) -> None:
    r"""Extracts the files with these names, and nothing else, from a compressed tar archive.

    Only the contents of ordinary files are read, and written to :obj:`folder/name`: no path, link,
    device, owner or mode in the archive has any effect. A file appears whole or not at all.

    Args:
        archive (pathlib.Path): The archive.
        names (list of str): Names of files, wherever they are in the archive.
        folder (pathlib.Path): Where they go.
        max_bytes (int): The largest that a file may become.

    Raises:
        DatasetError: If the archive is damaged, lacks a file, or the disk is full.
    """
    missing = set(names)
    try:
        with tarfile.open(archive, "r|*") as tar:  # as a stream: one pass, nothing held
            for member in tar:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in missing:
                    _write(tar, member, folder / name, max_bytes)
                    missing.remove(name)
                if not missing:
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{archive} is damaged: {error}. Delete it, so that it is fetched again."
        ) from error
    except OSError as error:
        raise DatasetError(f"Extracting {archive} to {folder} failed: {error}.") from error
    raise DatasetError(f"{archive} does not contain {', '.join(sorted(missing))}.")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, max_bytes: int) -> None:
    if member.size > max_bytes:
        raise DatasetError(
            f"{member.name} in {tar.name} has {member.size} bytes, more than the {max_bytes} that "
            "are to be expected."
        )
    with tar.extractfile(member) as source, atomic_path(target) as path, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != member.size:
            raise EOFError(f"{member.name} ends after {file.tell()} of {member.size} bytes")
