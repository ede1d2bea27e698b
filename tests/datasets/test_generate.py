import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest

from pyg_ghn.architectures import architecture_key, network_graph, split_net_args
from pyg_ghn.cli import main
from pyg_ghn.datasets import NetworkTable
from pyg_ghn.datasets import generate as module
from pyg_ghn.datasets.generate import generate, generated_path, with_num_nodes
from pyg_ghn.datasets.table import to_line
from pyg_ghn.errors import ArchitectureError, ConfigError, DatasetError

ROOT = Path(module.__file__).parents[2]
JOB = {"split": "train", "num_networks": 70, "seed": 3, "shard_size": 20, "progress": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "train.jsonl"
    generate(path, **JOB)
    return path.read_bytes()


def assert_whole(path, whole):
    assert path.read_bytes() == whole
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.stem}.index.npy"}


def test_file_has_the_networks_of_the_split(tmp_path, whole):
    table = generate(tmp_path / "new" / "train.jsonl", **JOB)
    info = {"split": "train", "num_networks": 70, "source": "generated", "generator": 1, "seed": 3}
    assert table.info == info
    assert list(table) == [with_num_nodes(net) for net in split_net_args("train", 70, 3)]
    for net_args in list(table)[:5]:
        assert net_args["num_nodes"] == network_graph(net_args).num_nodes
    assert generate(table.path, **JOB).path.read_bytes() == whole  # nothing is left to be done


def kill_at(monkeypatch, number):
    """The process kills itself when it comes to its network of this number."""
    numbers, function = count(), module.with_num_nodes

    def lethal(net_args):
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(net_args)

    monkeypatch.setattr(module, "with_num_nodes", lethal)


def generate_in_child(path):
    child = multiprocessing.get_context("fork").Process(target=generate, args=(path,), kwargs=JOB)
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.parametrize("numbers", [[0, 0], [19, 20, 20], [69], [45, 3, 25], [39, 29, 9, 1]])
def test_killed_and_resumed(tmp_path, whole, monkeypatch, numbers):
    path = tmp_path / "train.jsonl"
    for number in numbers:
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            assert generate_in_child(path) == -signal.SIGKILL
        assert not path.exists()
    assert generate_in_child(path) == 0
    assert_whole(path, whole)


@pytest.mark.parametrize("call", ["read_lines", "shutil.rmtree"])
def test_killed_while_shards_are_joined(tmp_path, whole, monkeypatch, call):
    path = tmp_path / "train.jsonl"
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
    whole = generate(tmp_path / "whole.jsonl", **job).path.read_bytes()
    path = tmp_path / "new" / "val.jsonl"
    (tmp_path / "script.py").write_text(SCRIPT.format(path=str(path), job=job))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], env=environment)
    shards = path.with_name("val.jsonl.shards")
    while parent.poll() is None and len(list(shards.glob("0*.jsonl"))) < 4:
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
        generate(tmp_path / "train.jsonl", workers=2, **JOB)


def test_ranks_share_the_work(tmp_path, whole):
    path = tmp_path / "train.jsonl"
    for rank in (2, 0):
        assert generate(path, **JOB, rank=rank, world_size=3) is None
        assert not path.exists()
    assert len(generate(path, **JOB, rank=1, world_size=3)) == 70
    assert_whole(path, whole)


@pytest.mark.parametrize("name", ["read_lines", "split_net_args"])
def test_another_process_was_faster(tmp_path, whole, monkeypatch, name):
    """It joined and removed the shards while this one read or wrote them."""
    path, function, calls = tmp_path / "train.jsonl", getattr(module, name), []

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
    path = tmp_path / "train.jsonl"
    assert generate(path, **JOB, world_size=2) is None  # unfinished
    before = sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=rf"train.jsonl.shards was generated .*{message}"):
        generate(path, **JOB | change)
    with pytest.raises(DatasetError, match=r"shard_size=20 \(now 10\)"):
        generate(path, **JOB | {"shard_size": 10})
    assert before == sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*"))
    generate(path, **JOB)
    with pytest.raises(DatasetError, match=rf"train.jsonl was generated .*{message}"):
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
        generate(tmp_path / "new" / "train.jsonl", **JOB | arguments)
    assert not any(tmp_path.iterdir())


def test_bad_places_and_damaged_shards(tmp_path):
    with pytest.raises(ArchitectureError, match="Unknown split"):
        generate(tmp_path / "tran.jsonl", "tran")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DatasetError, match="file"):
        generate(file / "train.jsonl", **JOB)
    with pytest.raises(DatasetError, match="file is damaged"):
        generate(file, **JOB)
    path = tmp_path / "train.jsonl"
    generate(path, **JOB, world_size=2)
    shard = tmp_path / "train.jsonl.shards" / "000002.jsonl"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    with pytest.raises(DatasetError, match=r"000002.jsonl is damaged.*[Dd]elete it"):
        generate(path, **JOB)
    assert not path.exists()
    shard.unlink()
    assert len(generate(path, **JOB)) == 70


SHA256 = {
    "val": "0e72461d4011ea9fc70420535770de11103db31321d9cfd51d47c82ab4254c71",
    "test": "e83c3f7e40395f6d1ce2c3b2b24786452e058f1da9679818334178f9a4f9808e",
    "wide": "89ade073a787b039c74a02a67f8e3340b3553002a48ea8836c3e08a0fd767824",
    "deep": "64f2ed800f2b9e837277321e72491dd664b2871202640bb9be119502b063a2ee",
    "dense": "ccfe70001670e2ff1ed098d68dae4f647ffe975b702a29ae5648a3f04b777fa6",
    "bnfree": "c4da8d1cc62987e168c4313874b1a313551a1cf11f6c68101d7e5d052342f549",
}


@pytest.mark.parametrize("split", SHA256)
def test_evaluation_splits_are_reproducible(split):
    rows = map(to_line, split_net_args(split))
    assert sha256(b"".join(rows)).hexdigest() == SHA256[split]


def test_statistics():
    nets = list(map(with_num_nodes, split_net_args("train", 400)))
    nodes = np.array([net["num_nodes"] for net in nets])
    # Published for the first 1000: 192.3 and 94.9
    assert abs(nodes.mean() - 192.3) < 4 * 94.9 * (1 / 400 + 1 / 1000) ** 0.5
    assert 80 < nodes.std() < 110
    keys = {architecture_key(net) for split in ("val", "test") for net in split_net_args(split)}
    assert not keys & {architecture_key(net) for net in nets}


def test_command(tmp_path, capsys):
    arguments = ["generate", "--split", "bnfree", "--num", "6", "--out", str(tmp_path)]
    main([*arguments, "--rank", "1", "--world_size", "2"])
    path = generated_path(tmp_path, "bnfree", 6)
    assert "Rank 1 is done" in capsys.readouterr().out
    main(arguments)
    assert f"6 networks in {path}" in capsys.readouterr().out
    assert list(NetworkTable(path)) == list(map(with_num_nodes, split_net_args("bnfree", 6)))
    with pytest.raises(SystemExit, match=r"pyg-ghn generate: .*seed=1 \(now 5\)"):
        main([*arguments, "--seed", "5"])
