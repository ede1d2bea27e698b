"""Which files are checkpoints."""

import random

import joblib
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


@pytest.mark.parametrize("write", ["torch", "legacy", "joblib", "safetensors"])
def test_random_damage(tmp_path, write):
    """Any file loads, or gives the one error."""
    ghn, path = GHN2(8, (2, 2, 3, 3), num_classes=2), tmp_path / "ghn.safetensors"
    content = {"state_dict": ghn.state_dict(), "config": ghn.config}
    {
        "torch": lambda: torch.save(content, path),
        "legacy": lambda: torch.save(content, path, _use_new_zipfile_serialization=False),
        "joblib": lambda: joblib.dump(ghn.state_dict(), path),
        "safetensors": lambda: save_pretrained(ghn, path),
    }[write]()
    good, rng, failed = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((None, None, None, rng.randrange(len(data))))])
        try:
            from_pretrained(path)
        except CheckpointError as error:
            failed += 1
            assert str(path) in str(error)
    assert failed > 30
