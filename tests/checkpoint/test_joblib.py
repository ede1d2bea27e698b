"""The released files of GHN-3 are state dicts written by joblib."""

import joblib
import numpy as np
import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import CheckpointError

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
