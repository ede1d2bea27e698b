import hashlib
import http.server
import io
import json
import os
import re
import runpy
import shutil
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyg_ghn.datasets import NetworkTable, official
from pyg_ghn.datasets.official import ARCHIVE, convert_official, download, extract, fetch
from pyg_ghn.errors import DatasetError

SCRIPT = Path(__file__).parents[2] / "datasets" / "download.py"
META = "deepnets1m_train_meta.json"
BODY = bytes(range(251)) * 40
MD5 = hashlib.md5(BODY).hexdigest()


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``. ``server.faults`` says for each coming request how it goes wrong:
    ``"cut"`` (half of the body, then the connection is closed), ``"no range"``, a status."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        assert len(server.requests) < 20
        fault = server.faults.pop(0) if server.faults else None
        body = server.files.get(self.path.rpartition("/")[2])
        if isinstance(fault, int) or body is None:
            return self.send_error(fault or 404)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and fault != "no range":
            start = int(wanted[1])
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """The server, with its address as ``url``."""
    monkeypatch.setattr(official, "PAUSE", 0)
    monkeypatch.setattr(official, "TIMEOUT", 5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.files, server.faults, server.requests = {"a.bin": BODY}, [], []
        server.url = f"http://127.0.0.1:{server.server_address[1]}/deepnets1m/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def official_site(site, golden_folder, monkeypatch):
    """The golden networks as the site's archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(golden_folder / META, META)
    site.files[ARCHIVE] = archive.getvalue()
    monkeypatch.setattr(official, "ARCHIVE_MD5", hashlib.md5(archive.getvalue()).hexdigest())
    return site


@pytest.fixture
def get(site, tmp_path):
    def get():
        path = tmp_path / "raw" / "a.bin"
        download(f"{site.url}a.bin", path, MD5, progress=False)
        return path.read_bytes()

    return get


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        (["cut", "cut"], [None, "bytes=5020-", "bytes=7530-"]),
        (["cut", "no range"], [None, "bytes=5020-"]),
        (["no range"], [None]),
    ],
)
def test_broken_connections_are_resumed(site, get, faults, requests):
    site.faults = faults
    assert get() == BODY and site.requests == requests


def test_a_later_call_goes_on(site, get, tmp_path):
    site.faults = ["cut"] * 3
    with pytest.raises(DatasetError, match=r"closed too early.*8785 bytes are kept in .*part"):
        get()
    assert names(tmp_path / "raw") == ["a.bin.part"]
    assert get() == BODY and site.requests[3:] == ["bytes=8785-"]


@pytest.mark.parametrize("body", [BODY[:-1] + b"x", BODY * 1000])
def test_wrong_files_leave_nothing(site, get, tmp_path, monkeypatch, body):
    monkeypatch.setattr(official, "MAX_ARCHIVE_BYTES", 20_000)
    site.files["a.bin"] = body
    with pytest.raises(DatasetError, match=rf"a\.bin is not what .*instead of {MD5}"):
        get()
    assert names(tmp_path / "raw") == [] and len(site.requests) == 1


@pytest.mark.parametrize(
    ("part", "requests"),
    [
        (BODY, []),  # stopped between the last byte and the new name
        (BODY + b"x", ["bytes=10041-", None]),
        (b"y" * len(BODY), ["bytes=10040-", None]),
    ],
)
def test_part_as_long_as_the_file(site, get, tmp_path, part, requests):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.bin.part").write_bytes(part)
    assert get() == BODY and site.requests == requests


def test_complete_or_waiting_for_each_other(site, get, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        assert {pool.submit(get).result() for _ in range(4)} == {BODY}
    assert site.requests == [None]
    assert get() == get() == BODY and site.requests == [None]
    assert names(tmp_path / "raw") == ["a.bin"]
    (tmp_path / "raw" / "a.bin").write_bytes(b"mine")
    assert get() == b"mine"


@pytest.mark.parametrize("status", [403, 404, 416, 500])
def test_refused(site, get, tmp_path, status):
    site.faults = [status] * 9
    with pytest.raises(DatasetError, match=rf"a\.bin can't be downloaded .*{status}"):
        get()
    assert names(tmp_path / "raw") == [] and len(site.requests) == 1


def test_bad_folder_full_disk_and_no_network(site, get, tmp_path, monkeypatch):
    (tmp_path / "raw").touch()
    with pytest.raises(DatasetError, match=r"can't be downloaded to .*raw: .*exists"):
        get()
    (tmp_path / "raw").unlink()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(http.client.HTTPResponse, "read1", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        get()
    assert names(tmp_path / "raw") == []
    site.server_close()
    with pytest.raises(DatasetError, match=r"a\.bin can't be downloaded.*refused.*belongs into"):
        get()
    assert names(tmp_path / "raw") == []


def test_fetched_files_are_read(official_site, tmp_path, capsys):
    script = runpy.run_path(str(SCRIPT))["main"]
    arguments = ["--root", str(tmp_path), "--url_prefix", official_site.url, "--splits"]
    script([*arguments, "train"])
    raw = tmp_path / "raw"
    assert str(raw / META) in capsys.readouterr().out and names(raw) == [ARCHIVE, META]
    convert_official(raw, "train", tmp_path / "train.jsonl", progress=False)
    table = NetworkTable(tmp_path / "train.jsonl")
    assert table.info == {"split": "train", "num_networks": 40, "source": "official"}
    assert list(table) == json.loads((raw / META).read_text())["train"]["nets"]
    fetch(raw, "train", official_site.url)
    with pytest.raises(SystemExit, match=rf"{ARCHIVE} does not contain deepnets1m_eval_meta\.json"):
        script([*arguments, "val"])
    assert len(official_site.requests) == 1


# -- archives -------------------------------------------------------------------------------------

TEXT = b'{"train": {}}' * 1000


def member(name, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(TEXT)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def pack(tmp_path):
    def pack(*members):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            for info in members:
                tar.addfile(info, io.BytesIO(TEXT) if info.isreg() else None)
        return tmp_path / "a.tar.gz"

    return pack


@pytest.mark.parametrize("name", ["./new/a.json", "../../a.json", "/etc/a.json"])
def test_named_file_only_and_paths_have_no_effect(pack, tmp_path, name):
    path = tmp_path / "deep" / "out" / "a.json"
    archive = pack(member("x.json"), member(name, mode=0o777))
    extract(archive, path)
    assert {found for found in tmp_path.rglob("*") if found.is_file()} == {archive, path}
    assert path.read_bytes() == TEXT and not path.stat().st_mode & 0o111


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_no_files(pack, tmp_path, kind):
    archive = pack(member("a.json", type=kind, linkname="/etc/passwd", size=0))
    with pytest.raises(DatasetError, match=r"a\.tar\.gz does not contain a\.json"):
        extract(archive, tmp_path / "out" / "a.json")
    assert not os.path.lexists(tmp_path / "out" / "a.json")


def test_too_large(pack, tmp_path):
    with pytest.raises(DatasetError, match=r"a\.json .* has 13000 bytes, more than the 12999"):
        extract(pack(member("a.json")), tmp_path / "out" / "a.json", max_bytes=12_999)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 5, 100, 200_000])
def test_truncated_or_missing_archive(tmp_path, keep):
    archive, info = tmp_path / "a.tar.gz", member("a.json", size=1 << 18)
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(os.urandom(1 << 18)))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"a\.tar\.gz is damaged.*Delete it"):
        extract(archive, tmp_path / "out" / "a.json")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    with pytest.raises(DatasetError, match=r"Extracting .*none\.tar\.gz .* failed"):
        extract(tmp_path / "none.tar.gz", tmp_path / "a.json")


# -- damaged meta files ---------------------------------------------------------------------------


@pytest.fixture
def raw(golden_folder, tmp_path):
    (tmp_path / "raw").mkdir()
    shutil.copy(golden_folder / META, tmp_path / "raw")
    return tmp_path / "raw"


def convert(raw):
    path = raw.parent / "new" / "train.jsonl"
    try:
        convert_official(raw, "train", path, progress=False)
    finally:
        left = list(path.parent.iterdir()) if path.parent.exists() else []
        assert left in ([], [path])
    return NetworkTable(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"droppath": 0.1}, "'droppath'"),
        ({"genotype": {"normal": [["conv_9x9", 0]]}}, "keys"),
        ({"n_cells": "many"}, "str"),
        ({"num_params": None}, "'num_params' must be .* got None"),
        ({"num_params": {"cifar10": 9}}, "'num_params' must be .* got {'cifar10': 9}"),
        ({"norm": "ln"}, "norm must be None"),
    ],
)
def test_bad_arguments(raw, change, message):
    meta = json.loads((raw / META).read_text())
    meta["train"]["nets"][20].update(change)
    (raw / META).write_text(json.dumps(meta))
    where = rf"Network 20 of the split 'train' in .*{META}: "
    with pytest.raises(DatasetError, match=f"{where}.*{message}"):
        convert(raw)


@pytest.mark.parametrize("net", [5, None, "x", [1], {}])
def test_no_arguments(raw, net):
    (raw / META).write_text(json.dumps({"train": {"nets": [net]}}))
    with pytest.raises(DatasetError, match="Network 0 of the split 'train' in "):
        convert(raw)


def test_other_splits_and_missing_node_counts(raw, nets):
    meta = {"val": {"nets": nets[3:], "meta": {}}, "train": {"meta": {}, "nets": nets[:3]}}
    (raw / META).write_text(json.dumps(meta, indent=1))
    assert list(convert(raw)) == nets[:3]
    meta["train"]["nets"] = [{k: v for k, v in nets[5].items() if k != "num_nodes"}]
    (raw / META).write_text(json.dumps(meta))
    assert list(convert(raw)) == [nets[5]]


DAMAGED, NO_NETWORKS = "is damaged: .*Fetch it again", "has no networks of the split 'train'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", DAMAGED),
        ("{", DAMAGED),
        ('{"train": {"nets": [{"n_cells": 3', DAMAGED),
        ("[" * 100_000, DAMAGED),
        ('{"val": {}}', NO_NETWORKS),
        ("[]", NO_NETWORKS),
        ('{"train": 5}', NO_NETWORKS),
        ('{"train": {"nets": 3}}', NO_NETWORKS),
        (None, "is missing"),
    ],
)
def test_damaged_files_and_those_without_the_split(raw, content, message):
    (raw / META).unlink()
    if content is not None:
        (raw / META).write_text(content)
    with pytest.raises(DatasetError, match=f"{META} {message}"):
        convert(raw)
