r"""Rows of results, a JSON line each, made by all processes together and kept from run to run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from pyg_ghn._files import atomic_path
from pyg_ghn._version import versions
from pyg_ghn.errors import ConfigError, WriteError
from tables.options import Options

Row = dict[str, Any]
Job = tuple[Row, Callable[[], Row]]


@dataclass(frozen=True)
class Rows:
    r"""A kind of rows, kept in :obj:`OUT/NAME.jsonl`. Several kinds can share a file.

    Args:
        name: Name of the file.
        key: The fields that tell a row from all others. A field :obj:`start` may be the label of a
            GHN; then the row also keeps the checksum of its file.
        settings: What the options say that all rows depend on, as JSON. Asked before any job runs:
            the place for checks.
        jobs: The rows to make, each with its key and the function that finds the rest, from the
            options and the results of :obj:`after`.
        after: The rows that :obj:`jobs` needs to know.
    """

    name: str
    key: tuple[str, ...]
    settings: Callable[[Options], Row]
    jobs: Callable[..., Iterable[Job]]
    after: tuple[Rows, ...] = ()

    def in_order(self) -> Iterator[Rows]:
        r"""All rows that these need, and these."""
        for rows in self.after:
            yield from rows.in_order()
        yield self

    def identity(self, row: Row) -> tuple[Any, ...]:
        r"""The values of the key."""
        return tuple(row.get(name) for name in self.key)


@dataclass
class Results:
    r"""What a file of rows holds."""

    settings: Row = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    r"""Rows with an :obj:`error` in the place of results."""


def prepare(rows: Rows, options: Options) -> None:
    r"""Makes sure that a file of rows is there and fits the options. A last line that a killed
    process left half-written is cut off.

    Raises:
        ConfigError: If the file is of other settings, or of another GHN of the same name.
    """
    path = options.folder / f"{rows.name}.jsonl"
    settings = json.loads(json.dumps(rows.settings(options)))  # as it comes out of the file
    if options.state.is_main_process:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            whole = json.dumps({"settings": settings, "versions": versions()}).encode() + b"\n"
        if options.retry and content:
            read(path, rows)  # says it if these are no rows
            whole = b"".join(x for x in whole.splitlines(True) if "error" not in json.loads(x))
        if whole != content:
            with atomic_path(path) as temporary:
                temporary.write_bytes(whole)
    options.state.wait_for_everyone()
    found = read(path, rows)
    if changed := [
        f"{name} {found.settings.get(name)}, now {settings.get(name)}"
        for name in {**found.settings, **settings}
        if found.settings.get(name) != settings.get(name)
    ]:
        raise ConfigError(
            f"{path} has rows of other settings ({'; '.join(changed)}): go on with those, or "
            "choose another --out."
        )
    for row in found.rows:
        start, checksum = row.get("start"), row.get("checksum")
        if checksum and start in options.paths and checksum != options.checksum(start):
            raise ConfigError(
                f"{path} has rows of another GHN called {start}: give this one another name by "
                "--checkpoints NAME=PATH, or choose another --out."
            )


def read(path: Path, rows: Rows) -> Results:
    r"""The results in a file.

    Raises:
        ConfigError: If there are none, or it holds something else.
    """
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")  # the last one is not whole
        first, *found = map(json.loads, lines)
        results = Results({**first["settings"]}, {**first["versions"]})
        unique = {rows.identity(row): row for row in reversed(found)}  # of two the first one
    except FileNotFoundError as error:
        raise ConfigError(f"There is no {path}: run without --report_only first.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} holds no rows of results: {error!r}.") from error
    for row in reversed(unique.values()):
        (results.failed if "error" in row else results.rows).append(row)
    return results


def shard(jobs: list[Job], rank: int, count: int) -> list[Job]:
    r"""The jobs of one of :obj:`count` processes: neighbours, which take about as long as one
    another, go to different ones."""
    return jobs[rank::count]


def collect(rows: Rows, options: Options) -> None:
    r"""Runs the jobs whose rows are not there yet, shared between the processes, and appends a row
    as each is done. What fails becomes a row with the reason."""
    path, state = options.folder / f"{rows.name}.jsonl", options.state
    before = [read(options.folder / f"{other.name}.jsonl", other) for other in rows.after]
    found = read(path, rows)
    done = {rows.identity(row) for row in (*found.rows, *found.failed)}
    jobs = [job for job in rows.jobs(options, *before) if rows.identity(job[0]) not in done]
    state.wait_for_everyone()  # all have read before one writes
    mine = shard(jobs, state.process_index, state.num_processes)
    with tqdm(mine, rows.name, disable=not state.is_main_process) as bar:
        for key, run in bar:
            try:
                row = run()
            except Exception as error:  # of a network, in any way; the others go on
                row = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
            if "error" in row and torch.cuda.is_available():
                torch.cuda.empty_cache()  # it may have run out of memory
            if key.get("start") in options.paths:
                row = {"checksum": options.checksum(key["start"]), **row}
            append(path, {**key, **row})
    state.wait_for_everyone()


def append(path: Path, row: Row) -> None:
    r"""Adds a line to a file that other processes add lines to, too.

    Raises:
        WriteError: If the disk is full.
    """
    line = json.dumps(row).encode() + b"\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        if os.write(file, line) < len(line):
            raise WriteError(f"Can't write {path}: the disk is full.")
    finally:
        os.close(file)
