import errno
import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained, saving
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN2, GHN3, GHNMLP

SHAPE = (8, 8, 7, 7)
SETS = {"edge_bias": "none", "centrality": False, "input_distance": False}
GHNS = {
    "ghn3": lambda: GHN3(16, 1, 4, SHAPE, num_classes=10),
    "ghn3 without norms": lambda: GHN3(16, 2, 4, (8, 4, 7, 7), 10, False, False, cutoff=1),
    "ghn3 forward": lambda: GHN3(16, 1, 2, SHAPE, 10, edge_bias="forward"),
    "ghn3 without edges": lambda: GHN3(16, 1, 2, SHAPE, 10, edge_bias="none"),
    "ghn3 without centrality": lambda: GHN3(16, 1, 2, SHAPE, 10, centrality=False),
    "ghn3 of single nodes": lambda: GHN3(16, 0, 2, SHAPE, 10, **SETS),
    "ghn2": lambda: GHN2(16, SHAPE, num_classes=10),
    "ghn2 without virtual edges": lambda: GHN2(16, (4, 8, 7, 7), 10, False, virtual_edges=False),
    "mlp": lambda: GHNMLP(16, SHAPE, num_classes=10),
}


class HubGHN3(GHN3, PyTorchModelHubMixin):
    """As another library would put one on the hub."""


@pytest.mark.parametrize("make", GHNS.values(), ids=GHNS)
def test_round_trip(make, tmp_path, equal):
    ghn = make()
    path = save_pretrained(ghn, tmp_path / "a" / "ghn.safetensors")
    loaded = from_pretrained(path)
    assert equal(loaded, ghn)
    assert all(p.requires_grad for p in loaded.parameters())
    assert list(path.parent.iterdir()) == [path]


def test_directories_of_ours_and_of_the_mixin_of_the_hub(ghn, tmp_path, equal):
    path = save_pretrained(ghn, tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "model.safetensors"
    assert {file.name for file in path.parent.iterdir()} == {"config.json", "model.safetensors"}
    assert equal(from_pretrained(tmp_path / "a" / "b"), ghn)
    save_pretrained(ghn, tmp_path / "ours")
    hub = HubGHN3.from_pretrained(tmp_path / "ours")
    assert hub.config == ghn.config
    assert all(torch.equal(p, q) for p, q in zip(hub.parameters(), ghn.parameters(), strict=True))
    hub.save_pretrained(tmp_path / "theirs")
    assert equal(from_pretrained(tmp_path / "theirs"), ghn)


def test_metadata(ghn, tmp_path, tiny):
    metadata = {"training": json.dumps({"steps": 3}), "version": "0.1", "odd": "{"}
    path = save_pretrained(ghn, tmp_path, metadata)
    read = read_metadata(path)
    assert read["training"] == {"steps": 3}
    assert read["version"] == "0.1" and read["odd"] == "{"
    assert read["config"] == {"class": "GHN3", **ghn.config}
    assert read_metadata(tiny("ghn3_tiny")) == {}  # as other files
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"model.safetensors' is damaged or incomplete"):
        read_metadata(path)


def test_failed_write_leaves_the_old_file(ghn, saved, monkeypatch):
    def fail(state, path, metadata):
        path.write_text("half")
        raise OSError("disk full")

    before = saved.read_bytes()
    monkeypatch.setattr(saving, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(ghn, saved)
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("change", [{"norm.bias": torch.ones(16)}, {}])
def test_checksum(saved, change):
    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    metadata |= {} if change else {"training": "another"}
    save_file(load_file(saved) | change, saved, metadata)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"norm.bias": None}, r"lacks the key 'norm.bias' of shape \(16,\)"),
        ({"op_embedding.weight": None}, "lacks the key 'op_embedding.weight'"),
        ({"extra": torch.ones(1)}, "unexpected keys: extra"),
        ({f"extra{i}": torch.ones(1) for i in range(9)}, "extra3, extra4 and 4 more"),
        ({"norm.bias": torch.ones(7)}, r"'norm.bias' of shape \(7,\), expected \(16,\)"),
        ({"norm.bias": torch.full((16,), torch.nan)}, "not finite in norm.bias"),
        ({"norm.bias": torch.full((16,), -torch.inf)}, "not finite in norm.bias"),
        ({"norm.bias": torch.ones(16, dtype=torch.int32)}, "not all of one type"),
        ({"norm.bias": torch.ones(16, dtype=torch.float16)}, "not all of one type"),
        ({"conv.gru.bias_hh": torch.ones(48)}, "mixes the tensors of GHN3 and GHN2"),
    ],
)
def test_tensors_that_do_not_fit(ghn, saved, change, message):
    state = load_file(saved) | change
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(state, saved, {"config": json.dumps(ghn.config)})
    with pytest.raises(CheckpointError, match=f"ghn.safetensors' .*{message}"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    "config, message",
    [
        ("{", "config that is no JSON object"),
        ("[1]", "config that is no JSON object"),
        ("[" * 100_000, "config that is no JSON object"),
        ('[["heads", 4]]', "config that is no JSON object"),
        ('{"depth": 3}', "config with `depth`, which GHN3 does not take"),
        ('{"self": 3}', "config with `self`, which GHN3 does not take"),
        ('{"cutoff": 300}', "config that makes no GHN3: `cutoff` must be"),
        ('{"num_classes": 1e99}', "`num_classes` is not a number"),
        ('{"heads": [[[]]]}', "`heads` is not a number"),
        ('{"cutoff": true}', "`cutoff` is not a number"),
        ('{"edge_bias": 2}', "`edge_bias` is not a name"),
        ('{"edge_bias": "none"}', "edge_bias = none, its tensors have both"),
        ('{"centrality": false}', "centrality = False, its tensors have True"),
        ('{"weight_norm": 2}', "`weight_norm` is not true or false"),
        ('{"max_shape": 8}', "`max_shape` is not a shape"),
        ('{"max_shape": [8, 8, 7]}', "`max_shape` is not a shape"),
        ('{"max_shape": [8, 8, 7, 7.0]}', "`max_shape` is not a shape"),
        ('{"a": "%s"}' % ("x" * (1 << 20)), "config of more than 1,048,576 bytes"),
        ('{"class": "GHN9"}', "tensors of a GHN3, but its config names another class"),
        ('{"class": "GHN2"}', "tensors of a GHN3, but its config names another class"),
        # Bytes are those of a file beside the weights.
        (b"\xff\xfe\xfa", "config that is no JSON object"),
        (b"[1]", "config that is no JSON object"),
        (bytes(1 << 21), "config of more than 1,048,576 bytes"),
    ],
)
def test_bad_config(saved, config, message):
    beside = isinstance(config, bytes)
    save_file(load_file(saved), saved, None if beside else {"config": config})
    if beside:
        saved.with_name("config.json").write_bytes(config)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(saved)


def test_config_beside_the_weights_or_none(ghn, saved, equal):
    save_file(load_file(saved), saved)
    assert equal(from_pretrained(saved), ghn)
    other = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10, weight_norm=False)
    save_file(other.state_dict(), saved)
    saved.with_name("config.json").write_text(json.dumps(other.config))
    assert equal(from_pretrained(saved), other)


@pytest.mark.parametrize("name", [name for name in GHNS if name.startswith("ghn3 ")])
def test_config_of_before_the_ablations(name, saved, equal):
    ghn = GHNS[name]()
    old = {key: value for key, value in ghn.config.items() if key not in SETS}
    save_file(ghn.state_dict(), saved, {"config": json.dumps(old)})
    assert equal(from_pretrained(saved), ghn)


def test_tensors_that_tell_no_heads_or_no_ghn(saved):
    save_file(GHNS["ghn3 without edges"]().state_dict(), saved)
    with pytest.raises(CheckpointError, match=r"no edge bias, .* and no config with `heads`"):
        from_pretrained(saved)
    save_file({"a": torch.ones(1)}, saved)
    with pytest.raises(CheckpointError, match="holds no GHN; this version reads GHN2, GHN3, GHNM"):
        from_pretrained(saved)


def test_more_classes_than_a_shape_has_channels(saved):
    """Whatever the file claims, little is built before all tensors are known to fit."""
    state = load_file(saved) | {
        "decoder.class_kernel.weight": torch.ones(10**7, 1, dtype=torch.int8)
    }
    save_file(state, saved)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"has the key .* expected"):
        from_pretrained(saved)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precision(ghn, tmp_path, dtype, equal):
    ghn = ghn.to(dtype)
    ghn.op_embedding.weight.data[:] = 5000  # the sum is beyond float16
    loaded = from_pretrained(save_pretrained(ghn, tmp_path))
    assert equal(loaded, ghn) and {p.dtype for p in loaded.parameters()} == {dtype}


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("read", [from_pretrained, read_metadata])
def test_file_that_may_not_be_read(saved, read):
    saved.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read(saved)


@pytest.mark.parametrize("read", [from_pretrained, read_metadata])
def test_file_on_a_broken_disk(saved, read, monkeypatch):
    def open(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", open)
    with pytest.raises(CheckpointError, match=r"ghn.safetensors' .*Input/output error"):
        read(saved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_device(saved, tiny):
    for path in (saved, tiny("ghn3_tiny")):
        assert all(p.is_cuda for p in from_pretrained(path, map_location="cuda").parameters())
