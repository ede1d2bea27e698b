"""Which files are checkpoints, and those of joblib, as GHN-3 was released."""

import random

import joblib
import numpy as np
import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained, save_pretrained
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN2

FOREIGN = {
    "is no checkpoint": [
        *(b"", b"hello, world", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x89HDF\r\n\x1a\n"),
        *(b"\xff" * 100, b"xylophone"),
    ],
    "is a page of HTML or XML": [
        *(b"<!DOCTYPE html><html>404</html>", b"\xef\xbb\xbf\r\n<html>404</html>")
    ],
    "compressed data is cut off": [b"x\x9c345678{", b"\x1f\x8b", b"x\x9c"],
    "only a pointer of Git LFS": [b"version https://git-lfs.github.com/spec/v1\n"],
    "damaged or incomplete": [b"PK", b"\x80", b"\0\0\0\0\0\0\0\0{"],
}


@pytest.mark.parametrize(
    "data, message", [(data, message) for message in FOREIGN for data in FOREIGN[message]]
)
def test_foreign_file(refused, data, message):
    refused(data, message)


def test_directory_of_code(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        from_pretrained(tmp_path)


COMPRESSED = ("zlib", "gzip", "bz2", "xz", "lzma")
WRITERS = {
    "safetensors": lambda ghn, path: save_pretrained(ghn, path),
    "torch": lambda ghn, path: torch.save(contents(ghn), path),
    "legacy": lambda ghn, path: torch.save(
        contents(ghn), path, _use_new_zipfile_serialization=False
    ),
    "joblib": lambda ghn, path: joblib.dump(ghn.state_dict(), path),
    **{
        kind: lambda ghn, path, kind=kind: joblib.dump(ghn.state_dict(), path, compress=(kind, 1))
        for kind in COMPRESSED
    },
}


def contents(ghn):
    return {"state_dict": ghn.state_dict(), "config": ghn.config}


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_and_damaged_files(tmp_path, equal, kind):
    """Any file loads, or gives the one error; what has a checksum never loads with other values,
    unless the bits are in the padding, which nobody reads."""
    ghn, path = GHN2(8, (2, 2, 3, 3), num_classes=2), tmp_path / "ghn.safetensors"
    WRITERS[kind](ghn, path)
    assert equal(from_pretrained(path), ghn)  # whatever its name says
    good, rng = path.read_bytes(), random.Random(0)

    def fails(data):
        path.write_bytes(data)
        try:
            loaded = from_pretrained(path)
        except CheckpointError as error:
            assert f"'{path}' " in str(error)
            return True
        assert kind in ("legacy", "joblib", "lzma") or equal(loaded, ghn)
        return False

    for size in (0, 4, 15, 20, 100, 200, 5000, len(good) // 2, -5, -1):
        assert fails(good[:size])
    for position in range(11, len(good), len(good) // 60):
        data = bytearray(good)
        data[position] ^= 1 << position % 8
        fails(data)
    failed = 0
    for _ in range(20 if kind in COMPRESSED else 150):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        failed += fails(data)
    assert failed > 4


TABLES = ("centrality_embed_in", "centrality_embed_out", "input_dist_embed")


@pytest.fixture
def dump(tmp_path):
    def dump(content, **kwargs):
        joblib.dump(content, tmp_path / "ghn3tm8.pt", **kwargs)
        return tmp_path / "ghn3tm8.pt"

    return dump


@pytest.fixture
def released(content):
    """A state dict with the tables at top level, as in the released files."""
    state = content()["state_dict"]
    for table in TABLES:
        state[f"{table}.weight"] = state.pop(f"gnn.0.{table}.weight")
    return state


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_released_format(released, dump, tiny, equal, protocol):
    loaded = from_pretrained(dump(released, protocol=protocol))
    assert equal(loaded, from_pretrained(tiny("ghn3_tiny")))
    assert all(p.requires_grad for p in loaded.parameters())


def test_old_protocol_calls_a_codec_for_bytes(ghn, dump):
    with pytest.raises(CheckpointError, match=r"holds `_codecs.encode`"):
        from_pretrained(dump(ghn.state_dict(), protocol=2))


def test_parameters_attributes_and_shared_storages_of_a_state_dict(ghn, dump, equal):
    """A module's own state dict has `_metadata`, and may hold parameters."""
    state = ghn.state_dict(keep_vars=True)
    assert state._metadata
    assert equal(from_pretrained(dump(state)), ghn)
    # Joblib writes the whole storage for each of them.
    flat = torch.nn.utils.parameters_to_vector(ghn.parameters()).detach()
    state, start = {}, 0
    for name, p in ghn.named_parameters():
        state[name] = flat[start : (start := start + p.numel())].view_as(p)
    small = {"norm.weight", "norm.bias"}
    state = {n: t if n in small else t.clone() for n, t in state.items()}
    assert equal(from_pretrained(dump(state)), ghn)


def test_ghn2_written_by_joblib(content, dump, tiny, equal):
    assert equal(from_pretrained(dump(content("ghn2_tiny"))), from_pretrained(tiny("ghn2_tiny")))


@pytest.mark.parametrize("array", [np.ones(3), np.ones(3, dtype=object), np.float64(3)])
def test_numpy_arrays_are_refused(released, dump, array):
    released["ln.weight"] = array
    with pytest.raises(CheckpointError, match=r"holds `(joblib|numpy)\S+`, which is neither a ten"):
        from_pretrained(dump(released))
