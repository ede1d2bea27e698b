from pathlib import Path

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained, save_pretrained
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN3

GOLDEN = Path(__file__).parents[1] / "golden" / "predictions"


@pytest.fixture
def ghn():
    return GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10)


@pytest.fixture
def saved(ghn, tmp_path):
    return save_pretrained(ghn, tmp_path / "ghn.safetensors")


@pytest.fixture
def tiny():
    """The path of a training checkpoint, ghn3_tiny or ghn2_tiny."""
    return lambda name: GOLDEN / f"{name}.pt"


@pytest.fixture
def content(tiny):
    """What a training checkpoint holds."""
    return lambda name="ghn3_tiny": torch.load(tiny(name), weights_only=True)


@pytest.fixture
def write(tmp_path):
    """Writes a file by torch.save."""

    def write(content, **kwargs):
        torch.save(content, tmp_path / "ghn.pt", **kwargs)
        return tmp_path / "ghn.pt"

    return write


@pytest.fixture
def equal():
    """Whether two GHNs have the same config and parameters."""

    def equal(ghn, other):
        state, others = ghn.state_dict(), other.state_dict()
        same = type(ghn) is type(other) and ghn.config == other.config
        return same and all(torch.equal(state[name], others[name]) for name in state)

    return equal


@pytest.fixture
def refused(tmp_path):
    """Expects an error that names the file and tells what is wrong."""

    def refused(data, message):
        path = tmp_path / "evil.pt"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"evil.pt' .*({message})"):
            from_pretrained(path)

    return refused
