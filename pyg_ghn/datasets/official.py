r"""The official file of DeepNets-1M: downloaded, unpacked and read."""

import hashlib
import http.client
import json
import os
import shutil
import ssl
import tarfile
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any
from urllib.error import URLError

from tqdm import tqdm

from pyg_ghn._files import atomic_path, one_process
from pyg_ghn.architectures import SPLITS
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.architectures.plan_graph import plan_graph
from pyg_ghn.datasets.table import to_line, write_table
from pyg_ghn.errors import DatasetError

URL_PREFIX = "https://dl.fbaipublicfiles.com/deepnets1m/"
ARCHIVE = "deepnets1m_meta.tar.gz"
ARCHIVE_MD5 = "a42b6f513da6bbe493fc16a30d6d4e3e"
MAX_ARCHIVE_BYTES = 1 << 26  # it has 35 MB
MAX_META_BYTES = 1 << 32

META_FILES = {
    split: f"deepnets1m_{split if split in ('train', 'search') else 'eval'}_meta.json"
    for split in SPLITS
}
r"""Split to the file in the archive that has the arguments of its networks."""

TRIES = 3  # connections that may break before a download counts as failed
TIMEOUT = 60  # seconds without any data after which a connection counts as broken
PAUSE = 1.0  # seconds before the second connection, twice that before the third
_INTERRUPTIONS = (URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
_BLOCK = 1 << 20


def fetch(
    folder: str | os.PathLike, split: str, url_prefix: str = URL_PREFIX, progress: bool = True
) -> Path:
    r"""Downloads and unpacks the file that has a split to a folder, :obj:`root/raw` of the data
    set, unless it is there, and returns its path. A download that was interrupted goes on where it
    stopped; the archive is checked against its md5 sum before it is used."""
    path, archive = Path(folder) / META_FILES[split], Path(folder) / ARCHIVE
    if not path.exists():
        download(url_prefix.rstrip("/") + "/" + ARCHIVE, archive, ARCHIVE_MD5, progress)
        extract(archive, path)
    return path


def convert_official(
    raw_dir: str | os.PathLike, split: str, path: str | os.PathLike, progress: bool = True
) -> None:
    """Reads a split of the official files and writes it as a table, whole or not at all."""
    meta_path = Path(raw_dir) / META_FILES[split]
    lines = _read_meta(meta_path, split)
    info = {"split": split, "num_networks": len(lines), "source": "official"}
    numbered = tqdm(enumerate(lines), f"Reading {split}", len(lines), disable=not progress)
    where = f"of the split {split!r} in {meta_path}"
    write_table(path, info, (_checked(line, f"Network {i} {where}") for i, line in numbered))


def download(url: str, path: Path, md5: str, progress: bool = True) -> None:
    r"""Downloads a file, unless it is there. Until it is complete and its md5 sum is right, it is
    called :obj:`NAME.part`, with which a later call, or one after an error, goes on."""
    part = path.with_name(f"{path.name}.part")
    try:
        with one_process(path):
            if path.exists():  # another process may have been faster
                return
            for attempt in range(TRIES):
                time.sleep(PAUSE * attempt)
                try:
                    _go_on(url, part, md5, progress)
                    break
                except _INTERRUPTIONS as error:
                    status = getattr(error, "code", None)
                    if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.exists():
                        part.unlink()  # as long as the file or longer, yet not the file
                    elif status or attempt == TRIES - 1:
                        raise
            if (found := _md5(part)) != md5:
                part.unlink()
                raise DatasetError(
                    f"{url} is not what it should be: its md5 sum is {found} instead of {md5}. "
                    f"Nothing of it was kept; try again, or fetch {path.name} from elsewhere and "
                    f"put it into {path.parent}."
                )
            part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        kept = part.stat().st_size if part.exists() else 0
        resume = f" {kept} bytes are kept in {part}, a new try goes on from there." if kept else ""
        raise DatasetError(
            f"{url} can't be downloaded to {path.parent}: {error}.{resume} A copy from elsewhere "
            "belongs into this folder."
        ) from error


def extract(archive: Path, path: Path, max_bytes: int = MAX_META_BYTES) -> None:
    r"""Extracts the file of this name, wherever it is in a compressed tar archive, and nothing
    else. Only the contents of an ordinary file are read: no path, link, device, owner or mode in
    the archive has any effect. The file appears whole or not at all."""
    try:
        with tarfile.open(archive, "r|*") as tar:  # as a stream: one pass, nothing held
            for member in tar:
                if not member.isreg() or member.name.rpartition("/")[2] != path.name:
                    continue
                if member.size > max_bytes:
                    raise DatasetError(
                        f"{member.name} in {archive} has {member.size} bytes, more than the "
                        f"{max_bytes} that are to be expected."
                    )
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file, _BLOCK)
                    if file.tell() != member.size:
                        raise EOFError(f"{member.name} ends after {file.tell()} bytes")
                return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{archive} is damaged: {error}. Delete it, so that it is fetched again."
        ) from error
    except OSError as error:
        raise DatasetError(f"Extracting {archive} to {path.parent} failed: {error}.") from error
    raise DatasetError(f"{archive} does not contain {path.name}.")


def _go_on(url: str, part: Path, md5: str, progress: bool) -> None:
    """Reads from one connection where the last one stopped."""
    size = part.stat().st_size if part.exists() else 0
    if size and _md5(part) == md5:  # stopped between the last byte and the new name
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            size = 0  # all of it, whatever was asked for
        total = None if response.length is None else size + response.length
        bar = tqdm(total=total, initial=size, unit="B", unit_scale=True, disable=not progress)
        try:
            with bar, part.open("ab") as out:
                out.truncate(size)
                while size <= MAX_ARCHIVE_BYTES and (block := response.read1(_BLOCK)):
                    out.write(block)
                    size += len(block)
                    bar.update(len(block))
        finally:
            if not part.stat().st_size:
                part.unlink()
    if total is not None and size < min(total, MAX_ARCHIVE_BYTES):
        raise ConnectionError("the connection was closed too early")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _read_meta(path: Path, split: str) -> list[bytes]:
    """The arguments of a split's networks, each as a line, which takes less memory."""

    def pack(value: dict[str, Any]) -> Any:
        return to_line(value) if "n_cells" in value or "genotype" in value else value

    try:
        with path.open(encoding="utf-8") as file:
            splits = json.load(file, object_hook=pack)
        return list(splits[split]["nets"])
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is damaged: {error}. Fetch it again.") from error
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path} has no networks of the split {split!r}.") from error


def _checked(line: Any, place: str) -> dict[str, Any]:
    """The arguments in a line, of a valid network, with the number of nodes."""
    try:
        net_args = json.loads(line) if isinstance(line, bytes) else {}
        plan = NetworkPlan(**network_arguments(net_args))
        counts = net_args.get("num_params")
        if not isinstance(counts, dict) or not {"cifar10", "imagenet"} <= counts.keys():
            raise DatasetError(f"'num_params' must be for cifar10 and imagenet, got {counts!r}.")
        if not isinstance(net_args.get("num_nodes"), int):
            net_args["num_nodes"] = len(plan_graph(plan).ops)
        return net_args
    except (TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{place}: {error}") from error
