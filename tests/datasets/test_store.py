import errno
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from pyg_ghn.datasets import NetworkRecord, Store, StoreWriter
from pyg_ghn.errors import ArchitectureError, DatasetError


def write(path, records, **kwargs):
    with StoreWriter(path, "train", **kwargs) as writer:
        for record in records:
            writer.append(record)
    return path


@pytest.fixture(scope="module")
def path(records, tmp_path_factory):
    return write(tmp_path_factory.mktemp("store") / "a.ghn", records, info={"seed": 1})


@pytest.fixture
def copy(path, tmp_path):
    return shutil.copy(path, tmp_path / "copy.ghn")


def assert_equal(record, expected):
    assert record.net_args == expected.net_args
    assert record.param_names == expected.param_names
    assert record.ops.dtype == "uint8" and (record.ops == expected.ops).all()
    assert record.edges.dtype == "uint16" and (record.edges == expected.edges).all()


def test_records_come_back(path, records):
    store = Store(path)
    store.verify()
    assert len(store) == len(records)
    assert store.split == "train" and store.info == {"seed": 1}
    assert store.num_nodes.tolist() == [len(record.ops) for record in records]
    assert store.num_edges.tolist() == [record.edges.shape[1] for record in records]
    for record, expected in zip(store, records, strict=True):
        assert_equal(record, expected)
    assert_equal(store[-1], records[-1])
    with pytest.raises(IndexError, match=f"no network {len(records)}"):
        store[len(records)]


def test_a_network_takes_few_bytes(path, records):
    assert path.stat().st_size < 3000 * len(records)
    assert (Store(path)._starts[-1] - Store(path)._starts[1]) / (len(records) - 1) < 800


def test_no_networks_are_a_file_too(tmp_path):
    store = Store(write(tmp_path / "none", []))
    store.verify()
    assert len(store) == 0 and list(store) == []


def test_joined_files_are_the_same_bytes(path, records, tmp_path):
    parts = [write(tmp_path / f"{i}", part) for i, part in enumerate((records[:7], records[7:]))]
    with StoreWriter(tmp_path / "joined", "train", info={"seed": 1}) as writer:
        for part in parts:
            writer.extend(Store(part))
    assert (tmp_path / "joined").read_bytes() == path.read_bytes()


def test_a_part_of_a_file_is_what_is_written_of_it(path, records, tmp_path):
    with StoreWriter(tmp_path / "part", "train") as writer:
        writer.extend(Store(path), 3, 9)
    assert (tmp_path / "part").read_bytes() == write(tmp_path / "b", records[3:9]).read_bytes()


def test_order_of_edges_does_not_matter(records, tmp_path):
    shuffled = [record._replace(edges=record.edges[:, ::-1]) for record in records[:3]]
    store = Store(write(tmp_path / "a", shuffled))
    for record, expected in zip(store, records[:3], strict=True):
        assert_equal(record, expected)


class Reads(torch.utils.data.Dataset):
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return len(self.store)

    def __getitem__(self, index):
        record = self.store[index]
        return record.param_names, record.ops.tolist(), os.getpid()


def test_workers_read_it(path, records):
    loader = torch.utils.data.DataLoader(
        Reads(Store(path)), None, num_workers=2, multiprocessing_context="fork"
    )
    found = list(loader)
    assert len({pid for *_, pid in found}) == 2
    assert [names for names, *_ in found] == [record.param_names for record in records]
    assert [ops for _, ops, _ in found] == [record.ops.tolist() for record in records]


def test_pickle_holds_the_path_only(path, records):
    pickled = pickle.dumps(Store(path))
    assert len(pickled) < 1000
    assert_equal(pickle.loads(pickled)[2], records[2])


def test_missing(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.ghn: No such file"):
        Store(tmp_path / "none.ghn")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated(copy, share):
    os.truncate(copy, int(copy.stat().st_size * share))
    with pytest.raises(DatasetError, match=r"copy\.ghn is incomplete"):
        Store(copy)


def damage(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def test_damaged_network_is_named(copy, records):
    start, end = Store(copy)._starts[5:7].tolist()
    damage(copy, (start + end) // 2)
    store = Store(copy)
    with pytest.raises(DatasetError, match=r"copy\.ghn is damaged: network 5 is"):
        store[5]
    assert_equal(store[6], records[6])
    with pytest.raises(DatasetError, match=r"copy\.ghn is damaged: its checksum"):
        store.verify()


def test_no_flipped_bit_goes_unnoticed(path, copy):
    original = path.read_bytes()
    for position in range(0, len(original), 211):
        copy.write_bytes(original)
        damage(copy, position)
        with pytest.raises(DatasetError, match=r"copy\.ghn"):
            Store(copy).verify()


def test_other_files(copy):
    copy.write_bytes(b"PK" * 1000)
    with pytest.raises(DatasetError, match=r"no file of networks"):
        Store(copy)


def test_other_version(path, copy):
    data = bytearray(path.read_bytes())
    data[7] = 9
    copy.write_bytes(data)
    with pytest.raises(DatasetError, match="has version 9, but this pyg_ghn reads version 1"):
        Store(copy)


def test_nothing_is_left_after_an_error(records, tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "a.ghn", "train") as writer:
        writer.append(records[0])
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_an_unfinished_file_replaces_nothing(records, tmp_path):
    path = write(tmp_path / "a.ghn", records[:2])
    before = path.read_bytes()
    with pytest.raises(DatasetError), StoreWriter(path, "train") as writer:
        writer.append(records[0])
        writer.append(records[0]._replace(param_names=[]))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


class FullDisk:
    """A file on a disk with room for so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def tell(self):
        return self.file.tell()


@pytest.mark.parametrize("room", [0, 500, 5000])  # networks, index
def test_full_disk(records, tmp_path, room):
    writer = StoreWriter(tmp_path / "a.ghn", "train")
    message = r"a\.ghn: No space left on device"
    with pytest.raises(DatasetError, match=message), writer:
        writer._file = FullDisk(writer._file, room)
        for record in records[:3]:
            writer.append(record)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_at_the_last_moment(records, tmp_path):
    # Everything is still in the file's buffer when it is closed.
    writer = StoreWriter(tmp_path / "a.ghn", "train")
    message = r"a\.ghn: No space left on device"
    with pytest.raises(DatasetError, match=message), writer:
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer._file.fileno())
        writer.append(records[0])
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file/a\.ghn: "):
        write(tmp_path / "file" / "a.ghn", [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"param_names": ["x"]}, "nodes and 1 names"),
        ({"edges": np.array([[1], [1]])}, "its edges must lead ahead"),
        ({"edges": np.array([[1], [60000]])}, "its edges must lead ahead"),
        ({"edges": np.array([[0, 0], [1, 1]])}, "an edge occurs twice"),
    ],
)
def test_invalid_records(records, tmp_path, change, message):
    with (
        pytest.raises(DatasetError, match=rf"Network 1 of .*a\.ghn: .*{message}"),
        StoreWriter(tmp_path / "a.ghn", "train") as writer,
    ):
        writer.append(records[0])
        writer.append(records[1]._replace(**change))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({1: "cells.9.x.weight"}, "has no parameter 'cells.9.x.weight'"),
        ({1: "classifier.0.weight"}, "several nodes stand for 'classifier.0.weight'"),
    ],
)
def test_invalid_names(records, tmp_path, names, message):
    param_names = [names.get(i, name) for i, name in enumerate(records[0].param_names)]
    with pytest.raises(DatasetError, match=message):
        write(tmp_path / "a.ghn", [records[0]._replace(param_names=param_names)])


def test_invalid_arguments(records, tmp_path):
    record = records[0]._replace(net_args=records[0].net_args | {"ks": 4})
    with pytest.raises(ArchitectureError, match="ks must be"):
        write(tmp_path / "a.ghn", [record])
    first = NetworkRecord({}, np.ones(2, np.uint8), np.zeros((2, 0)), ["", ""])
    with pytest.raises(DatasetError, match="node 0 and no other must be the input"):
        write(tmp_path / "a.ghn", [first])
