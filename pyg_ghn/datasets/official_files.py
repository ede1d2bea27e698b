r"""Which official files there are, and how they get into a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pyg_ghn.datasets.archive import extract_members
from pyg_ghn.datasets.download import RemoteFile, download_file
from pyg_ghn.errors import DatasetError

URL_PREFIX = "https://dl.fbaipublicfiles.com/deepnets1m/"

FILES = {
    file.name: file
    for file in (
        RemoteFile("deepnets1m_train.hdf5", 10_300_000_000, "90bbe84bb1da0d76cdc06d5ff84fa23d"),
        RemoteFile("deepnets1m_eval.hdf5", 16_000_000, "1f5641329271583ad068f43e1521517e"),
        RemoteFile("deepnets1m_search.hdf5", 1_300_000_000, "0a93f4b4e3b729ea71eb383f78ea9b53"),
        RemoteFile("deepnets1m_meta.tar.gz", 35_000_000, "a42b6f513da6bbe493fc16a30d6d4e3e"),
    )
}
r"""The files on the site, by name."""

META_ARCHIVE = "deepnets1m_meta.tar.gz"
MAX_META_BYTES = 1 << 32


class SplitFiles(NamedTuple):
    r"""The two files that hold a split."""

    hdf5: str
    meta: str


def _files(part: str) -> SplitFiles:
    return SplitFiles(f"deepnets1m_{part}.hdf5", f"deepnets1m_{part}_meta.json")


SPLIT_FILES: dict[str, SplitFiles] = {
    "train": _files("train"),
    "search": _files("search"),
    **dict.fromkeys(("val", "test", "wide", "deep", "dense", "bnfree"), _files("eval")),
}
r"""Split to the files that hold it."""


def files_of(split: str) -> SplitFiles:
    r"""Returns the names of the files that hold a split.

    Raises:
        DatasetError: If there is no such split.
    """
    if split not in SPLIT_FILES:
        raise DatasetError(
            f"There are no official files of the split {split!r}; choose from "
            f"{', '.join(SPLIT_FILES)}."
        )
    return SPLIT_FILES[split]


def fetch(
    folder: str | os.PathLike,
    split: str,
    url_prefix: str = URL_PREFIX,
    progress: bool = True,
) -> SplitFiles:
    r"""Downloads what a split needs and is not yet there. A download that was interrupted goes on
    where it stopped; every file is checked against its md5 sum before it gets its name.

    Args:
        folder (str or os.PathLike): Where the files go, :obj:`root/raw` of the data set.
        split (str): A key of :data:`SPLIT_FILES`.
        url_prefix (str, optional): Where the files are. (default: :data:`URL_PREFIX`)
        progress (bool, optional): Whether to show a progress bar. (default: :obj:`True`)

    Returns:
        SplitFiles: The names of the split's two files in the folder.

    Raises:
        DatasetError: If the split is unknown, or a file can't be had or is not the right one.
    """
    folder, files = Path(folder), files_of(split)
    if not (folder / files.meta).exists():
        archive = download_file(FILES[META_ARCHIVE], folder, url_prefix, progress)
        extract_members(archive, [files.meta], folder, MAX_META_BYTES)
    download_file(FILES[files.hdf5], folder, url_prefix, progress)
    return files
