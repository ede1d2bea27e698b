import os
import pickle

import pytest

from pyg_ghn.datasets import NetworkTable
from pyg_ghn.datasets.table import write_table
from pyg_ghn.errors import DatasetError


@pytest.fixture
def path(nets, tmp_path):
    path = tmp_path / "new" / "train.jsonl"
    write_table(path, {"split": "train", "num_networks": len(nets)}, nets)
    return path


@pytest.fixture
def index(path):
    return path.with_name("train.index.npy")


def test_what_is_read_is_what_was_written(path, nets):
    table = NetworkTable(path)
    assert table.info == {"split": "train", "num_networks": 25} and len(table) == 25
    assert list(table) == nets and table[-1] == nets[-1]
    assert table.num_nodes.tolist() == [net["num_nodes"] for net in nets]
    with pytest.raises(IndexError, match="25 networks, but no network 25"):
        table[25]
    copy = pickle.loads(pickle.dumps(table))
    assert copy[7] == nets[7] and len(pickle.dumps(table)) < 500


def test_index_is_made_when_it_does_not_fit_and_may_hide_damage(path, index, nets):
    NetworkTable(path)
    made = index.read_bytes()
    for damage in (b"", made[:-20], made[:-8] + bytes(8)):
        index.write_bytes(damage)
        assert list(NetworkTable(path)) == nets and index.read_bytes() == made
    write_table(path, {"num_networks": 2}, nets[:2])
    assert not index.exists()  # it may be as long as the old one
    assert list(NetworkTable(path)) == nets[:2]
    write_table(path, {"num_networks": len(nets)}, nets)
    NetworkTable(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"n_cells"', b'"n_cells,', 3))
    assert NetworkTable(path)[3] == nets[3]
    with pytest.raises(DatasetError, match="line 3 is no JSON"):
        NetworkTable(path)[1]


def test_folder_that_cannot_be_written(path, nets, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("numpy.save", refuse)
    assert list(NetworkTable(path)) == nets
    with pytest.raises(DatasetError, match=r"^Can't write to .*x\.jsonl: .*File exists"):
        write_table(path / "x.jsonl", {"num_networks": 0}, [])


def test_whole_or_not_at_all(tmp_path, nets, monkeypatch):
    def fail():
        yield nets[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(tmp_path / "x.jsonl", {"num_networks": 2}, fail())
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DatasetError, match=r"x\.jsonl: No space left"):
        write_table(tmp_path / "x.jsonl", {"num_networks": 1}, nets[:1])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_truncated(path, share):
    NetworkTable(path)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(DatasetError, match=r"train\.jsonl is damaged: .*Delete it"):
        NetworkTable(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{]\n", r"line 4 is no JSON"),
        (b"\x00\xff\n", "line 4 is no JSON"),
        (b"[" * 100_000 + b"\n", "line 4 is no JSON"),
        (b"[1]\n", "line 4 has no 'num_nodes'"),
        (b'{"num_nodes": "7"}\n', "line 4 has no 'num_nodes'"),
    ],
)
def test_damaged_network(path, line, message):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], line, *lines[4:]]))
    with pytest.raises(DatasetError, match=rf"train\.jsonl is damaged: {message}"):
        NetworkTable(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"{}\n", b'{"num_networks": 3}\n'])
def test_no_table(tmp_path, content):
    path = tmp_path / "x.jsonl"
    with pytest.raises(DatasetError, match=r"x\.jsonl: No such file"):
        NetworkTable(path)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.jsonl is damaged"):
        NetworkTable(path)
