import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "datasets" / "download.py"


@pytest.fixture
def download():
    return runpy.run_path(str(SCRIPT))["main"]


def test_files_arrive(download, official_site, tmp_path, capsys):
    url = official_site.url.rstrip("/")
    download(["--root", str(tmp_path), "--splits", "train", "--url_prefix", url])
    assert capsys.readouterr().out.startswith("train: deepnets1m_train.hdf5, ")
    assert (tmp_path / "raw" / "deepnets1m_train_meta.json").exists()


def test_errors_are_messages(download, site, tmp_path):
    with pytest.raises(SystemExit, match=r"download\.py: http.*meta\.tar\.gz can't be had: .*404"):
        download(["--root", str(tmp_path), "--splits", "val", "--url_prefix", site.url])
