import os
import subprocess
import sys
import zlib

import pytest
import torch
from safetensors.torch import save_file

from pyg_ghn._files import atomic_path, sweep
from pyg_ghn.errors import WriteError

KILLED = """
import os, sys
from pyg_ghn._files import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_the_file_appears_at_the_end_or_the_old_one_stays(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as path:
        path.write_text("whole")
        assert path.suffix == ".txt" and path != target
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(KeyError), atomic_path(target) as path:
        path.write_text("half")
        raise KeyError
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("there", ["", "file.txt/x", "folder.txt", "folder.txt/" + "x" * 300])
def test_no_place_for_the_file(tmp_path, there):
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(WriteError, match=f"Can't write to {tmp_path / there}: "):
        atomic_path(tmp_path / there).__enter__()


@pytest.fixture
def leftover(tmp_path):
    """What a killed writer of file.txt leaves."""
    target = tmp_path / "file.txt"
    subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    return left


def test_the_next_writer_deletes_what_a_killed_one_left(tmp_path, leftover):
    others = [tmp_path / name for name in (".file.txt", ".file.backup.txt", ".other.txt")]
    for other in others:
        other.touch()
    with atomic_path(tmp_path / "file.txt") as path:
        path.touch()
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "file.txt"])


def test_writers_keep_their_own_and_private_files_become_ordinary(tmp_path):
    with atomic_path(tmp_path / "file.txt") as first, atomic_path(tmp_path / "file.txt") as second:
        assert first != second and first.exists()
    ordinary, target = tmp_path / "ordinary", tmp_path / "file.txt"
    ordinary.touch()
    with atomic_path(target) as path:
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    assert target.stat().st_mode == ordinary.stat().st_mode


def test_files_of_other_machines_go_by_age(tmp_path, leftover):
    foreign = tmp_path / f".file.{'0' * 8}{leftover.suffixes[0][9:]}.txt"
    leftover.rename(foreign)
    for age, there in ((0, True), (1 << 20, False)):
        os.utime(foreign, (foreign.stat().st_atime, foreign.stat().st_mtime - age))
        with atomic_path(tmp_path / "file.txt") as path:
            path.touch()
        assert foreign.exists() is there


def test_sweep(tmp_path, leftover):
    kept = tmp_path / ".hidden.txt"
    kept.touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def write_and_fail(path):
    """Hides the reason behind another error, as matplotlib's PDF writer does."""
    try:
        path.write_bytes(bytes(1 << 20))
    finally:
        zlib.decompress(b"")


WRITERS = {
    "plain": lambda path: path.write_bytes(bytes(1 << 20)),
    "torch": lambda path: torch.save(torch.ones(1 << 18), path),
    "torch, old": lambda path: torch.save(
        torch.ones(1 << 18), path, _use_new_zipfile_serialization=False
    ),
    "failing as it closes": write_and_fail,
    "safetensors": lambda path: save_file({"a": torch.ones(1 << 18)}, path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_full_disk(tmp_path, write):
    import resource
    import signal

    target = tmp_path / "file.safetensors"
    target.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with (
            pytest.raises(WriteError, match=f"Can't write {target}: "),
            atomic_path(target) as path,
        ):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
