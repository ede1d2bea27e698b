import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest

from pyg_ghn.architectures import architecture_key, split_net_args
from pyg_ghn.cli import main
from pyg_ghn.datasets import Store
from pyg_ghn.datasets import generate as module
from pyg_ghn.datasets.generate import checksum, generate, generated_path, records
from pyg_ghn.errors import ArchitectureError, ConfigError, DatasetError

ROOT = Path(module.__file__).parents[2]
JOB = {"split": "train", "num_networks": 70, "seed": 3, "shard_size": 20, "progress": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "train.ghn"
    generate(path, **JOB)
    return path.read_bytes()


def assert_whole(path, whole):
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_file_has_the_networks_of_the_split(tmp_path, whole):
    store = generate(tmp_path / "new" / "train.ghn", **JOB)
    assert store.split == "train" and store.info["seed"] == 3
    expected = list(records("train", 70, seed=3))
    assert [network.net_args for network in expected] == list(split_net_args("train", 70, 3))
    assert len(store) == 70 and checksum(store) == checksum(expected)
    assert generate(store.path, **JOB).path.read_bytes() == whole  # nothing is left to be done


def kill_at(monkeypatch, number):
    """The process kills itself when it comes to its network of this number."""
    numbers, record = count(), module.record

    def lethal(net_args):
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return record(net_args)

    monkeypatch.setattr(module, "record", lethal)


def generate_in_child(path):
    child = multiprocessing.get_context("fork").Process(target=generate, args=(path,), kwargs=JOB)
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.parametrize("numbers", [[0, 0], [19, 20, 20], [69], [45, 3, 25], [39, 29, 9, 1]])
def test_killed_and_resumed(tmp_path, whole, monkeypatch, numbers):
    path = tmp_path / "train.ghn"
    for number in numbers:
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            assert generate_in_child(path) == -signal.SIGKILL
        assert not path.exists()
    assert generate_in_child(path) == 0
    assert_whole(path, whole)


@pytest.mark.parametrize("call", ["StoreWriter.extend", "shutil.rmtree"])
def test_killed_while_shards_are_joined(tmp_path, whole, monkeypatch, call):
    path = tmp_path / "train.ghn"
    with monkeypatch.context() as patch:
        patch.setattr(f"{module.__name__}.{call}", lambda *_, **__: os.kill(os.getpid(), 9))
        assert generate_in_child(path) == -signal.SIGKILL
    assert path.exists() == (call == "shutil.rmtree")
    assert generate_in_child(path) == 0
    assert_whole(path, whole)


SCRIPT = """
from pyg_ghn.datasets.generate import generate
if __name__ == "__main__":
    generate({path!r}, workers=2, **{job})
"""


def test_processes_end_with_their_parent_and_make_the_same_file(tmp_path):
    job = JOB | {"split": "val", "shard_size": 10}
    whole = generate(tmp_path / "whole.ghn", **job).path.read_bytes()
    path = tmp_path / "new" / "val.ghn"
    (tmp_path / "script.py").write_text(SCRIPT.format(path=str(path), job=job))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], env=environment)
    shards = path.with_name("val.ghn.shards")
    while parent.poll() is None and len(list(shards.glob("0*.ghn"))) < 4:
        time.sleep(0.01)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1]
    generate(path, **job)
    assert_whole(path, whole)


def test_killed_worker(tmp_path, monkeypatch):
    class Pool(ThreadPoolExecutor):
        def __init__(self, workers, context, initializer):
            super().__init__(workers)

        def map(self, *_):
            raise BrokenProcessPool

    monkeypatch.setattr(module, "ProcessPoolExecutor", Pool)
    with pytest.raises(DatasetError, match="A process was killed; start again"):
        generate(tmp_path / "train.ghn", workers=2, **JOB)


def test_ranks_share_the_work(tmp_path, whole):
    path = tmp_path / "train.ghn"
    for rank in (2, 0):
        assert generate(path, **JOB, rank=rank, world_size=3) is None
        assert not path.exists()
    assert len(generate(path, **JOB, rank=1, world_size=3)) == 70
    assert_whole(path, whole)


@pytest.mark.parametrize("name", ["Store", "records"])
def test_another_process_was_faster(tmp_path, whole, monkeypatch, name):
    """It joined and removed the shards while this one read or wrote them."""
    path, function, calls = tmp_path / "train.ghn", getattr(module, name), []

    def slow(*args):
        calls.append(args)
        if len(calls) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(module, name, function)
                generate(path, **JOB)
        return function(*args)

    monkeypatch.setattr(module, name, slow)
    assert len(generate(path, **JOB)) == 70
    assert_whole(path, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"seed=3 \(now 4\)"),
        ({"num_networks": 60}, r"num_networks=70 \(now 60\)"),
        ({"split": "search"}, r"split=train \(now search\)"),
    ],
)
def test_other_options_are_refused(tmp_path, monkeypatch, change, message):
    path = tmp_path / "train.ghn"
    assert generate(path, **JOB, world_size=2) is None  # unfinished
    before = sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=rf"train.ghn.shards was generated .*{message}"):
        generate(path, **JOB | change)
    with pytest.raises(DatasetError, match=r"shard_size=20 \(now 10\)"):
        generate(path, **JOB | {"shard_size": 10})
    assert before == sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    generate(path, **JOB)
    with pytest.raises(DatasetError, match=rf"train.ghn was generated .*{message}"):
        generate(path, **JOB | change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_networks": 0}, "num_networks must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"workers": 0}, "workers must be 1"),
        ({"rank": -1}, "rank must be 0"),
        ({"rank": 2, "world_size": 2}, "rank must be less than world_size, got 2 of 2"),
        ({"shard_size": 0}, "shard_size"),
    ],
)
def test_invalid_arguments(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        generate(tmp_path / "new" / "train.ghn", **JOB | arguments)
    assert not any(tmp_path.iterdir())


def test_bad_places(tmp_path):
    with pytest.raises(ArchitectureError, match="Unknown split"):
        generate(tmp_path / "tran.ghn", "tran")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DatasetError, match="file"):
        generate(file / "train.ghn", **JOB)
    with pytest.raises(DatasetError, match="file is incomplete"):
        generate(file, **JOB)


def test_damaged_shard_is_named(tmp_path):
    path = tmp_path / "train.ghn"
    generate(path, **JOB, world_size=2)
    shard = tmp_path / "train.ghn.shards" / "000002.ghn"
    data = bytearray(shard.read_bytes())
    data[len(data) // 4] ^= 255
    shard.write_bytes(data)
    with pytest.raises(DatasetError, match=r"000002.ghn is damaged.*[Dd]elete it"):
        generate(path, **JOB)
    assert not path.exists()
    shard.unlink()
    assert len(generate(path, **JOB)) == 70


def test_evaluation_splits_are_reproducible():
    published = json.loads((ROOT / "datasets" / "checksums.json").read_text())
    for split in ("bnfree", "val"):
        assert checksum(records(split)) == published[split]["sha256"]


def test_statistics():
    networks = list(records("train", 400))
    nodes = np.array([len(network.ops) for network in networks])
    degrees = np.array([2 * network.edges.shape[1] / len(network.ops) for network in networks])
    # Published for the first 1000: 192.3 and 94.9; 2.3 and 0.1
    assert abs(nodes.mean() - 192.3) < 4 * 94.9 * (1 / 400 + 1 / 1000) ** 0.5
    assert 80 < nodes.std() < 110
    assert abs(degrees.mean() - 2.3) < 0.06 and 0.05 < degrees.std() < 0.15
    keys = {architecture_key(net.net_args) for split in ("val", "test") for net in records(split)}
    assert not keys & {architecture_key(network.net_args) for network in networks}


def test_command(tmp_path, capsys):
    arguments = ["generate", "--split", "bnfree", "--num", "6", "--out", str(tmp_path)]
    main([*arguments, "--rank", "1", "--world_size", "2"])
    path = generated_path(tmp_path, "bnfree", 6)
    assert "Rank 1 is done" in capsys.readouterr().out
    main(arguments)
    assert f"6 networks in {path}" in capsys.readouterr().out
    assert checksum(Store(path)) == checksum(records("bnfree", 6))
    with pytest.raises(SystemExit, match=r"pyg-ghn generate: .*seed=1 \(now 5\)"):
        main([*arguments, "--seed", "5"])
