r"""What storage suits a million networks: ours, which is ragged and memory-mapped, with and without
its compression, against PyG's database on SQLite and HDF5. All hold the same arrays.

    python benchmarks/storage.py --num 5000 --million

Random reads of batches from the page cache, processor time of one process.
"""

from __future__ import annotations

import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _measure as measuring
import h5py
import numpy as np
import torch
from jsonargparse import auto_cli
from torch_geometric.data import SQLiteDatabase

from pyg_ghn.datasets import Store, StoreWriter
from pyg_ghn.datasets.block import Networks, pack, unpack
from pyg_ghn.datasets.generate import generate

ARRAYS = {  # of `Networks`, with the type in which they are stored
    "codes": np.uint16,
    "rest_codes": np.uint16,
    "steps": np.uint16,
    "cells": np.uint8,
    "rest_cells": np.uint8,
    "out_degrees": np.uint8,
}
TARGET_BYTES, TARGET_OPEN = 3000, 1.0


def main(
    num: int = 5000,
    batch_size: int = 32,
    runs: int = 3,
    million: bool = False,
    out: Path = Path(__file__).parent / "results",
) -> dict[str, Any]:
    """Prints a table and writes it to storage.json and storage.md.

    Args:
        num: Networks of the train split.
        batch_size: Networks that are read at once.
        runs: The best of so many counts.
        million: Also open a file of a million networks, those of the first one again and again.
        out: Folder of the results.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "networks.ghn", "train", num)
        networks = [store.read([i]) for i in range(num)]
        order = np.random.default_rng(0).permutation(num)
        batches = [order[i : i + batch_size].tolist() for i in range(0, num, batch_size)]
        rows = {
            name: measure(make(Path(folder) / f"storage{i}", store), networks, batches, runs)
            for i, (name, make) in enumerate(FORMATS.items())
        }
        opened = open_million(store, Path(folder) / "million.ghn", runs) if million else None
    result = {
        "environment": measuring.environment(),
        "options": {"num": num, "batch_size": batch_size, "runs": runs},
        "target": {"bytes": TARGET_BYTES, "open_seconds": TARGET_OPEN},
        "formats": rows,
        "million": opened,
    }
    columns = list(next(iter(rows.values())))
    lines = [f"| storage | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{row[column]:,.4g}' for column in columns)} |")
    if opened:
        lines += [
            "",
            "A million networks: " + ", ".join(f"{v:,.4g} {k}" for k, v in opened.items()),
        ]
    text = "\n".join(lines)
    print(text)
    measuring.save("storage", result, text, out)
    return result


def measure(
    storage: Storage, networks: list[Networks], batches: list[list[int]], runs: int
) -> dict[str, float]:
    r"""One row of the table."""
    num = len(networks)
    write = best(1, lambda: storage.write(networks))
    opened = best(runs, storage.open)
    read = best(runs, lambda: [storage.read(batch) for batch in batches])
    for number in (0, num // 2, num - 1):  # everything is there
        (found,), expected = storage.read([number]), networks[number]
        assert found[-1] == expected.net_args[0]
        for array, name in zip(found, ARRAYS, strict=False):
            assert (np.asarray(array) == getattr(expected, name)).all()
    return {
        "bytes a network": storage.size / num,
        "written/s": num / write,
        "opened in ms": 1e3 * opened,
        "read/s": num / read,
    }


class Storage(ABC):
    r"""A file with networks. :meth:`read` returns the arrays and the arguments of each."""

    def __init__(self, path: Path, source: Store):
        self.path = path
        self.source = source

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.path.parent.glob(f"{self.path.name}*"))

    @abstractmethod
    def write(self, networks: list[Networks]) -> None: ...

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def read(self, numbers: list[int]) -> Sequence[Sequence]: ...


class Compressed(Storage):
    r"""Our own format."""

    def write(self, networks):
        with StoreWriter(self.path, "train") as writer:
            writer.extend(self.source)  # with the table of what the codes mean

    def open(self):
        self.store = Store(self.path)

    def read(self, numbers):
        return split(self.store.read(numbers))


class Uncompressed(Storage):
    r"""The same blocks as they are, their starts in a second file."""

    def write(self, networks):
        blocks = [pack(network) for network in networks]
        self.path.write_bytes(b"".join(blocks))
        np.save(f"{self.path}.npy", np.cumsum([0, *map(len, blocks)]))

    def open(self):
        self.bytes = np.memmap(self.path, np.uint8, "r")
        self.starts = np.load(f"{self.path}.npy", mmap_mode="r")

    def read(self, numbers):
        ranges = (self.starts[i : i + 2].tolist() for i in numbers)
        return split(unpack([self.bytes[start:end].tobytes() for start, end in ranges]))


class Database(Storage):
    r"""What PyG's OnDiskDataset keeps its graphs in, with a schema."""

    def write(self, networks):
        self.open()
        self.database.multi_insert(range(len(networks)), list(map(tensors, networks)))
        self.database.close()

    def open(self):
        types = {np.uint16: torch.uint16, np.uint8: torch.uint8}
        schema = {name: {"dtype": types[dtype], "size": (-1,)} for name, dtype in ARRAYS.items()}
        self.database = SQLiteDatabase(str(self.path), "networks", schema | {"net_args": str})

    def read(self, numbers):
        found = self.database.multi_get(numbers)
        return [(*(row[name] for name in ARRAYS), row["net_args"].encode()) for row in found]


class Hdf5Groups(Storage):
    r"""A group for each network, as in the official files."""

    def write(self, networks):
        with h5py.File(self.path, "w") as file:
            for i, network in enumerate(networks):
                group = file.create_group(str(i))
                for name, dtype in ARRAYS.items():
                    group[name] = getattr(network, name).astype(dtype)
                group.attrs["net_args"] = network.net_args[0]

    def open(self):
        self.file = h5py.File(self.path, "r")

    def read(self, numbers):
        groups = [self.file[str(number)] for number in numbers]
        return [(*(g[name][()] for name in ARRAYS), g.attrs["net_args"].encode()) for g in groups]


class Hdf5Flat(Storage):
    r"""One compressed array of each kind, and where each network's part of it starts."""

    def write(self, networks):
        with h5py.File(self.path, "w") as file:
            for name, parts in self.columns(networks).items():
                file.create_dataset(name, data=np.concatenate(parts), compression="lzf")
                file[f"{name}_starts"] = np.cumsum([0, *map(len, parts)])

    def columns(self, networks):
        columns = {
            name: [getattr(network, name).astype(dtype) for network in networks]
            for name, dtype in ARRAYS.items()
        }
        return columns | {"net_args": [np.frombuffer(n.net_args[0], np.uint8) for n in networks]}

    def open(self):
        self.file = h5py.File(self.path, "r")
        self.starts = {name: self.file[f"{name}_starts"][()] for name in (*ARRAYS, "net_args")}

    def read(self, numbers):
        found = []
        for number in numbers:
            *arrays, net_args = (
                self.file[name][starts[number] : starts[number + 1]]
                for name, starts in self.starts.items()
            )
            found.append((*arrays, net_args.tobytes()))
        return found


FORMATS: dict[str, type[Storage]] = {
    "blocks, memory-mapped, compressed (ours)": Compressed,
    "blocks, memory-mapped": Uncompressed,
    "PyG database (SQLite)": Database,
    "HDF5, a group a network": Hdf5Groups,
    "HDF5, flat, compressed": Hdf5Flat,
}


def split(networks: Networks) -> list[tuple]:
    r"""The arrays and the arguments of each of several networks."""
    sizes = {"rest_codes": networks.num_rest, "rest_cells": networks.num_rest}
    sizes["steps"] = networks.num_edges
    columns = [
        np.split(getattr(networks, name), np.cumsum(sizes.get(name, networks.num_nodes))[:-1])
        for name in ARRAYS
    ]
    return list(zip(*columns, networks.net_args, strict=True))


def tensors(network: Networks) -> dict[str, Any]:
    arrays = {name: getattr(network, name).astype(dtype) for name, dtype in ARRAYS.items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return tensors | {"net_args": network.net_args[0].decode()}


def open_million(store: Store, path: Path, runs: int) -> dict[str, float]:
    r"""Size and time to open of a file of a million networks."""
    with StoreWriter(path, "train") as writer:
        while len(writer) < 1_000_000:
            writer.extend(store, stop=1_000_000 - len(writer))
    opened = best(runs, lambda: Store(path)[999_999])
    verified = best(1, Store(path).verify)
    size = os.path.getsize(path)
    return {"GB": size / 1e9, "s to open and read one": opened, "s to check": verified}


def best(runs: int, function: Callable[[], Any]) -> float:
    r"""Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    auto_cli(main)
