import pytest

from pyg_ghn.datasets.official import OfficialSplit
from pyg_ghn.datasets.official_files import FILES, META_ARCHIVE, SPLIT_FILES, fetch
from pyg_ghn.errors import DatasetError


def test_every_split_has_its_files():
    assert set(SPLIT_FILES) == {"train", "val", "test", "wide", "deep", "dense", "bnfree", "search"}
    assert {files.hdf5 for files in SPLIT_FILES.values()} | {META_ARCHIVE} == set(FILES)
    assert SPLIT_FILES["wide"] == ("deepnets1m_eval.hdf5", "deepnets1m_eval_meta.json")


def test_fetched_files_are_read(official_site, tmp_path):
    raw = tmp_path / "raw"
    names = fetch(raw, "train", official_site.url, progress=False)
    assert len(OfficialSplit(raw / names.hdf5, raw / names.meta, "train")) == 40
    assert len(official_site.requests) == 2
    fetch(raw, "train", official_site.url, progress=False)
    assert len(official_site.requests) == 2
    assert {path.name for path in raw.iterdir()} == {*names, META_ARCHIVE}


def test_archive_without_the_split(official_site, tmp_path):
    message = rf"{META_ARCHIVE} does not contain deepnets1m_eval_meta\.json"
    with pytest.raises(DatasetError, match=message):
        fetch(tmp_path, "val", official_site.url, progress=False)


def test_unknown_split(site, tmp_path):
    with pytest.raises(DatasetError, match=r"no official files of the split 'predefined'.*bnfree"):
        fetch(tmp_path, "predefined", site.url)
    assert not site.requests
