import pytest

from pyg_ghn.datasets import Store, StoreWriter


def write(path, records, **kwargs):
    with StoreWriter(path, "train", **kwargs) as writer:
        for record in records:
            writer.append(record)
    return path


@pytest.fixture(scope="module")
def path(records, tmp_path_factory):
    return write(tmp_path_factory.mktemp("store") / "a.networks", records, info={"seed": 1})


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
    for record, expected in zip(store, records, strict=True):
        assert_equal(record, expected)
    assert_equal(store[-1], records[-1])
    with pytest.raises(IndexError, match=f"no network {len(records)}"):
        store[len(records)]


def test_joined_files_are_the_same_bytes(path, records, tmp_path):
    parts = [write(tmp_path / f"{i}", part) for i, part in enumerate((records[:7], records[7:]))]
    with StoreWriter(tmp_path / "joined", "train", info={"seed": 1}) as writer:
        for part in parts:
            writer.extend(Store(part))
    assert (tmp_path / "joined").read_bytes() == path.read_bytes()
