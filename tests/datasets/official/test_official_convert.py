import json
import os
import shutil

import numpy as np
import pytest

from pyg_ghn.datasets import Store
from pyg_ghn.datasets.official import read_official
from pyg_ghn.datasets.official_convert import convert_official
from pyg_ghn.errors import DatasetError


@pytest.fixture
def raw(golden_folder, tmp_path):
    return shutil.copytree(golden_folder, tmp_path / "raw")


def test_what_is_stored_is_what_was_read(raw, tmp_path):
    path = tmp_path / "processed" / "train.store"
    convert_official(raw, "train", path, progress=False)
    store = Store(path)
    assert (store.split, store.info, len(store)) == ("train", {"source": "official"}, 40)
    store.verify()
    records = read_official(
        raw / "deepnets1m_train.hdf5", raw / "deepnets1m_train_meta.json", "train"
    )
    for ours, theirs in zip(store, records, strict=True):
        assert ours.net_args == theirs.net_args
        assert ours.param_names == theirs.param_names
        assert np.array_equal(ours.ops, theirs.ops) and np.array_equal(ours.edges, theirs.edges)


def test_first_networks_only(raw, tmp_path):
    convert_official(raw, "train", tmp_path / "x.store", num_networks=3, progress=False)
    assert len(Store(tmp_path / "x.store")) == 3
    for count in (0, 41):
        with pytest.raises(DatasetError, match=f"between 1 and 40, .*train.*, got {count}"):
            convert_official(raw, "train", tmp_path / "x.store", count, progress=False)


def test_a_bad_network_leaves_nothing(raw, tmp_path):
    meta_path = raw / "deepnets1m_train_meta.json"
    meta = json.loads(meta_path.read_text())
    meta["train"]["nets"][20]["num_nodes"] += 1
    meta_path.write_text(json.dumps(meta))
    with pytest.raises(DatasetError, match=r"Network 20 of the split 'train' in .*train\.hdf5"):
        convert_official(raw, "train", tmp_path / "new" / "x.store", progress=False)
    assert not any((tmp_path / "new").iterdir())


def test_a_full_disk_leaves_nothing(raw, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"x\.store: No space left on device"):
        convert_official(raw, "train", tmp_path / "new" / "x.store", 2, progress=False)
    assert not any((tmp_path / "new").iterdir())


def test_unknown_split(raw, tmp_path):
    with pytest.raises(DatasetError, match="no official files of the split 'predefined'"):
        convert_official(raw, "predefined", tmp_path / "x.store")
