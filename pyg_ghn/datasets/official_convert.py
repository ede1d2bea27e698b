r"""The official files of DeepNets-1M in our own storage."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from pyg_ghn.datasets.official import OfficialSplit
from pyg_ghn.datasets.official_files import files_of
from pyg_ghn.datasets.store import StoreWriter
from pyg_ghn.errors import DatasetError


def convert_official(
    raw_dir: str | os.PathLike,
    split: str,
    store_path: str | os.PathLike,
    num_networks: int | None = None,
    progress: bool = True,
) -> None:
    r"""Reads a split of the official files once and writes it as a
    :class:`~pyg_ghn.datasets.Store`, whole or not at all.

    Args:
        raw_dir (str or os.PathLike): The folder with the official files.
        split (str): A key of :data:`~pyg_ghn.datasets.official_files.SPLIT_FILES`.
        store_path (str or os.PathLike): The file to write.
        num_networks (int, optional): Only the first networks. (default: all of the split)
        progress (bool, optional): Whether to show a progress bar. (default: :obj:`True`)

    Raises:
        DatasetError: If the split is unknown, has fewer networks, a file is missing, damaged or
            does not fit the other one, or the new one can't be written.
    """
    files = files_of(split)
    networks = OfficialSplit(Path(raw_dir) / files.hdf5, Path(raw_dir) / files.meta, split)
    count = len(networks) if num_networks is None else num_networks
    if not 0 < count <= len(networks):
        raise DatasetError(
            f"num_networks must be between 1 and {len(networks)}, the number of networks in the "
            f"split {split!r} of {networks.hdf5_path}, got {count}."
        )
    bar = tqdm(islice(networks, count), f"Converting {split}", count, disable=not progress)
    with bar, StoreWriter(store_path, split, {"source": "official"}) as writer:
        for record in bar:
            writer.append(record)
