import hashlib
import io
import tarfile

import pytest

from pyg_ghn.datasets import official_files
from pyg_ghn.datasets.download import RemoteFile
from pyg_ghn.datasets.official import OfficialSplit
from pyg_ghn.datasets.official_files import FILES, META_ARCHIVE, SPLIT_FILES, fetch
from pyg_ghn.errors import DatasetError


@pytest.fixture
def official_site(site, golden_folder, monkeypatch):
    """The golden networks as the site's train split, beside which there are no others."""
    names = SPLIT_FILES["train"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(golden_folder / names.meta, names.meta)
    site.files[META_ARCHIVE] = archive.getvalue()
    site.files[names.hdf5] = (golden_folder / names.hdf5).read_bytes()
    files = {
        name: RemoteFile(name, len(body), hashlib.md5(body).hexdigest())
        for name, body in site.files.items()
    }
    monkeypatch.setattr(official_files, "FILES", FILES | files)
    return site


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
