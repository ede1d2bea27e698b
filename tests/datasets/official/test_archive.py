import io
import os
import tarfile

import pytest

from pyg_ghn.datasets.archive import extract_members
from pyg_ghn.errors import DatasetError

TEXT = b'{"train": {}}' * 1000


def member(name, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(TEXT)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def pack(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(TEXT) if info.isreg() else None)
    return path


def extract(archive, folder, names=("a.json",), max_bytes=1 << 20):
    extract_members(archive, names, folder, max_bytes)


def test_named_files_only(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", member("x.json"), member("./new/a.json", mode=0o777))
    out = tmp_path / "out"
    extract(archive, out)
    assert [path.name for path in out.iterdir()] == ["a.json"]
    assert (out / "a.json").read_bytes() == TEXT
    assert not (out / "a.json").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "wicked",
    [
        member("../../a.json"),
        member("/etc/a.json"),
    ],
)
def test_paths_have_no_effect(tmp_path, wicked):
    out = tmp_path / "deep" / "out"
    extract(pack(tmp_path / "a.tar.gz", wicked), out)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {tmp_path / "a.tar.gz", out / "a.json"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_no_files(tmp_path, kind):
    wicked = member("a.json", type=kind, linkname="/etc/passwd", size=0)
    with pytest.raises(DatasetError, match=r"a\.tar\.gz does not contain a\.json"):
        extract(pack(tmp_path / "a.tar.gz", wicked), tmp_path / "out")
    assert not os.path.lexists(tmp_path / "out" / "a.json")


def test_too_large(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", member("a.json"))
    with pytest.raises(DatasetError, match=r"a\.json .* has 13000 bytes, more than the 12999"):
        extract(archive, tmp_path / "out", max_bytes=12_999)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 5, 100, 200_000])
def test_truncated(tmp_path, keep):
    archive = tmp_path / "a.tar.gz"
    info = member("a.json")
    info.size = 1 << 18
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(os.urandom(1 << 18)))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"a\.tar\.gz is damaged.*Delete it"):
        extract(archive, tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


def test_missing_archive(tmp_path):
    with pytest.raises(DatasetError, match=r"Extracting .*none\.tar\.gz .* failed"):
        extract(tmp_path / "none.tar.gz", tmp_path)
