r"""The generator of DeepNets-1M as a program: as many networks as one likes, in one table.

Networks are drawn in shards, each written by whichever process of whichever machine comes to it,
and the shards are joined when all are there. Every network depends on its number and the seed
alone, so nothing but the time depends on how the work is divided or interrupted.
"""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from pyg_ghn._files import atomic_path
from pyg_ghn.architectures import split_net_args
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.architectures.plan_graph import plan_graph
from pyg_ghn.architectures.sampler import get_split
from pyg_ghn.datasets.table import NetworkTable, naming, read_lines, write_table
from pyg_ghn.errors import ConfigError, DatasetError

GENERATOR = 1  # counts up when the same seed no longer gives the same networks


def with_num_nodes(net_args: Mapping[str, Any]) -> dict[str, Any]:
    r"""The arguments of a network and :obj:`num_nodes`, the size of its graph: a row of a table."""
    plan = NetworkPlan(**network_arguments(net_args))
    return {**net_args, "num_nodes": len(plan_graph(plan).ops)}


def generated_path(root: str | os.PathLike, split: str, num_networks: int | None = None) -> Path:
    """The file of the generated networks of a split within the folder of a data set."""
    size = get_split(split).num_networks if num_networks is None else num_networks
    return Path(root) / "processed" / f"generated_{split}_{size}.jsonl"


def generate(
    path: str | os.PathLike,
    split: str,
    num_networks: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    rank: int = 0,
    world_size: int = 1,
    shard_size: int = 250,
    progress: bool = True,
) -> NetworkTable | None:
    r"""Generates the networks of a split and writes them to one file, or returns :obj:`None` where
    shards of other ranks are missing.

    What an interrupted run has finished is in the folder :obj:`{path}.shards`; called again, it
    goes on from there. Several machines, :obj:`world_size` of them, that share a file system divide
    the work by their rank, and each its own by :obj:`workers` processes; the one that finishes last
    joins the shards. The file is the same in any case. A process that is interrupted loses a shard
    at most.

    By default there are as many networks as the split has, from the split's own seed. An error
    tells of a file or an unfinished run with other networks than those asked for."""
    kind = get_split(split)
    job = _Job(
        Path(path),
        split,
        kind.num_networks if num_networks is None else num_networks,
        kind.seed if seed is None else seed,
        shard_size,
    )
    counts = {"workers": workers, "world_size": world_size, "shard_size": shard_size}
    for name, value in {**job.info, **counts, "rank": rank}.items():
        least = 0 if name in ("seed", "rank") else 1
        if isinstance(value, int) and value < least:
            raise ConfigError(f"{name} must be {least} or more, got {value}.")
    if rank >= world_size:
        raise ConfigError(f"rank must be less than world_size, got {rank} of {world_size}.")
    if job.path.exists():
        return job.finished()
    try:
        return job.run(range(rank, job.num_shards, world_size), workers, progress)
    except (DatasetError, OSError):
        if not job.path.exists():  # else another process was faster and removed the shards
            raise
        return job.finished()


@dataclass(frozen=True)
class _Job:
    path: Path
    split: str
    num_networks: int
    seed: int
    shard_size: int

    @property
    def folder(self) -> Path:
        return self.path.with_name(f"{self.path.name}.shards")

    @property
    def num_shards(self) -> int:
        return -(-self.num_networks // self.shard_size)

    @property
    def info(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "num_networks": self.num_networks,
            "source": "generated",
            "generator": GENERATOR,
            "seed": self.seed,
        }

    def shard(self, index: int) -> Path:
        return self.folder / f"{index:06d}.jsonl"

    def size(self, index: int) -> int:
        return min(self.shard_size, self.num_networks - index * self.shard_size)

    def run(self, indices: Iterable[int], workers: int, progress: bool) -> NetworkTable | None:
        r"""Writes some of the shards, unless they are there, and if all are, one file of them."""
        config = self.info | {"shard_size": self.shard_size}
        file = self.folder / "config.json"
        with naming(self.folder):
            if file.exists():
                self._check(json.loads(file.read_text()), config, self.folder)
            else:
                with atomic_path(file) as temporary:
                    temporary.write_text(json.dumps(config, indent=1) + "\n")

        shards = [self.shard(i) for i in range(self.num_shards)]
        there = {i for i, shard in enumerate(shards) if shard.exists()}
        done, pending = sum(map(self.size, there)), [i for i in indices if i not in there]
        options = {"unit": "net", "desc": self.split, "disable": not progress, "mininterval": 1}
        with tqdm(total=self.num_networks, initial=done, **options) as bar:
            for size in _in_processes(self.write, pending, workers):
                bar.update(size)

        if not self.path.exists() and not all(shard.exists() for shard in shards):
            return None  # some, of other ranks, are missing
        bar = tqdm(shards, "joining", unit="shard", disable=not progress)
        networks = (line for shard in bar for line, _ in islice(read_lines(shard), 1, None))
        joined = self.folder / "joined.jsonl"  # what a kill leaves of it goes with the folder
        write_table(joined, self.info, networks)
        joined.replace(self.path)
        return self.finished()

    def write(self, index: int) -> int:
        r"""Writes a shard and returns its number of networks."""
        start, size = index * self.shard_size, self.size(index)
        networks = map(with_num_nodes, split_net_args(self.split, size, self.seed, start))
        write_table(self.shard(index), self.info | {"num_networks": size}, networks)
        return size

    def finished(self) -> NetworkTable:
        r"""Opens the file after a check that it is that of this job."""
        table = NetworkTable(self.path)
        self._check(table.info, self.info, self.path)
        shutil.rmtree(self.folder, ignore_errors=True)
        return table

    def _check(self, found: dict[str, Any], wanted: dict[str, Any], place: Path) -> None:
        if different := [name for name in wanted if found.get(name) != wanted[name]]:
            differences = ", ".join(f"{n}={found.get(n)} (now {wanted[n]})" for n in different)
            raise DatasetError(
                f"{place} was generated with other options: {differences}. Use the same ones, "
                "delete it or choose another place."
            )


def _in_processes(function: Callable, items: list, workers: int) -> Iterator:
    if workers == 1:
        yield from map(function, items)
        return
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    try:
        yield from executor.map(function, items)
    except BrokenProcessPool as error:
        raise DatasetError("A process was killed; start again to go on from its shards.") from error
    finally:
        executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    # A pool does not notice that its parent was killed.
    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
