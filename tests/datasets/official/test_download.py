import errno
import hashlib
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyg_ghn.datasets import download
from pyg_ghn.datasets.download import RemoteFile, download_file
from pyg_ghn.errors import DatasetError

BODY = bytes(range(251)) * 40
FILE = RemoteFile("graphs.hdf5", 10_000, hashlib.md5(BODY).hexdigest())


@pytest.fixture(autouse=True)
def _serve(site):
    site.files[FILE.name] = BODY


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_complete(site, tmp_path):
    folder = tmp_path / "new" / "raw"
    path = download_file(FILE, folder, site.url, progress=False)
    assert path.read_bytes() == BODY and names(folder) == [FILE.name]
    assert download_file(FILE, folder, site.url) == path  # it is there
    assert site.requests == [None]


def test_what_is_there_is_left_alone(site, tmp_path):
    (tmp_path / FILE.name).write_bytes(b"mine")
    assert download_file(FILE, tmp_path, site.url).read_bytes() == b"mine"
    assert not site.requests


def test_broken_connections_are_resumed(site, tmp_path):
    site.faults = ["cut", "cut"]
    assert download_file(FILE, tmp_path, site.url, progress=False).read_bytes() == BODY
    assert site.requests == [None, "bytes=5020-", "bytes=7530-"]


def test_a_later_call_goes_on(site, tmp_path):
    site.faults = ["cut"] * 3
    with pytest.raises(DatasetError, match=rf"{FILE.name}.*broke.*8785 bytes are kept in .*\.part"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == [f"{FILE.name}.part"] and len(site.requests) == 3
    assert download_file(FILE, tmp_path, site.url, progress=False).read_bytes() == BODY
    assert site.requests[3:] == ["bytes=8785-"] and names(tmp_path) == [FILE.name]


def test_server_without_ranges(site, tmp_path):
    site.faults = ["cut", "no range"]
    assert download_file(FILE, tmp_path, site.url, progress=False).read_bytes() == BODY
    assert site.requests == [None, "bytes=5020-"]


def test_wrong_checksum_leaves_nothing(site, tmp_path):
    site.files[FILE.name] = BODY[:-1] + b"x"
    with pytest.raises(DatasetError, match=rf"{FILE.name} is not what .*instead of {FILE.md5}"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == [] and len(site.requests) == 1


def test_far_too_large_a_file(site, tmp_path):
    site.files[FILE.name] = BODY * 1000
    with pytest.raises(DatasetError, match="is not what it should be"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("part", "requests"),
    [
        (BODY, []),  # stopped between the last byte and the new name
        (BODY + b"x", ["bytes=10041-", None]),
        (b"y" * len(BODY), ["bytes=10040-", None]),
    ],
)
def test_part_as_long_as_the_file(site, tmp_path, part, requests):
    (tmp_path / f"{FILE.name}.part").write_bytes(part)
    assert download_file(FILE, tmp_path, site.url, progress=False).read_bytes() == BODY
    assert site.requests == requests and names(tmp_path) == [FILE.name]


def test_part_of_another_file(site, tmp_path):
    (tmp_path / f"{FILE.name}.part").write_bytes(b"z" * 100)
    with pytest.raises(DatasetError, match=r"md5 sum .* Nothing of it was kept"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == []


def test_processes_wait_for_each_other(site, tmp_path):
    arguments = (FILE, tmp_path, site.url, False)
    with ThreadPoolExecutor(4) as pool:
        paths = [pool.submit(download_file, *arguments) for _ in range(4)]
    assert {path.result() for path in paths} == {tmp_path / FILE.name}
    assert site.requests == [None] and names(tmp_path) == [FILE.name]


@pytest.mark.parametrize("status", [403, 404, 416, 500])
def test_refused(site, tmp_path, status):
    site.faults = [status] * 9
    with pytest.raises(DatasetError, match=f"{FILE.name} can't be had: HTTP status {status}"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == [] and len(site.requests) == 1


def test_no_network(site, tmp_path):
    site.server_close()
    with pytest.raises(
        DatasetError, match=f"{FILE.name} can't be reached.*refused.*into {tmp_path}"
    ):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == []


def test_too_small_a_disk_is_told_before(site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 60, 40))
    with pytest.raises(DatasetError, match="full: 10040 more bytes needed, 40 free"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == [] and len(site.requests) == 1


def test_full_disk(site, tmp_path, monkeypatch):
    def full(self, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download._Part, "append", full)
    with pytest.raises(DatasetError, match=f"The disk of {tmp_path} is full: No space left"):
        download_file(FILE, tmp_path, site.url, progress=False)
    assert names(tmp_path) == [] and len(site.requests) == 1


def test_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"failed: .*file"):
        download_file(FILE, tmp_path / "file", site.url, progress=False)
