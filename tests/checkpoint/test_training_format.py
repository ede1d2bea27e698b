from argparse import Namespace

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained, names
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN2, GHN3, GHNMLP

TABLES = ("centrality_embed_in", "centrality_embed_out", "input_dist_embed")
DECODER_CONVS = ("decoder.conv.0", "decoder.conv.2", "decoder.class_layer_predictor.1")
GHN3_OPTIONS = {"num_layers": 2, "heads": 8, "cutoff": 50}
GHN3_OPTIONS |= {"edge_bias": "both", "centrality": True, "input_distance": True}


@pytest.mark.parametrize(
    "name, cls, count, size, more",
    [
        ("ghn3_tiny", GHN3, 354_184, 16, GHN3_OPTIONS),
        ("ghn2_tiny", GHN2, 179_000, 11, {"virtual_edges": True}),
    ],
)
def test_files_of_the_authors_code(tiny, name, cls, count, size, more):
    ghn = from_pretrained(tiny(name))
    assert type(ghn) is cls and ghn.config == {
        "hidden_channels": 16,
        "max_shape": [16, 16, size, size],
        "num_classes": 10,
        "layer_norm": True,
        "weight_norm": True,
        **more,
    }
    assert sum(p.numel() for p in ghn.parameters()) == count


def test_names_of_all_parameters(content):
    """Ours are told from theirs and back."""
    for name in ("ghn3_tiny", "ghn2_tiny"):
        for theirs in content(name)["state_dict"]:
            ours = names.our_name(theirs)
            assert ours != theirs and theirs.endswith(names.their_name(ours))
            assert names.our_name(ours) == ours


def test_node_tables_at_top_level(content, tiny, write, equal):
    training = content()
    state = training["state_dict"]
    for table in TABLES:
        state[f"{table}.weight"] = state.pop(f"gnn.0.{table}.weight")
    assert equal(from_pretrained(write(training)), from_pretrained(tiny("ghn3_tiny")))


def test_node_tables_at_both_places(content, write):
    training = content()
    table = training["state_dict"]["gnn.0.input_dist_embed.weight"].clone()
    training["state_dict"]["input_dist_embed.weight"] = table
    with pytest.raises(CheckpointError, match=r"same tensor twice, as gnn.0.input_dist_embed"):
        from_pretrained(write(training))


@pytest.mark.parametrize("name", ["ghn3_tiny", "ghn2_tiny"])
@pytest.mark.parametrize("config", [{}, None, {"num_classes": 10, "hid": None}])
def test_sizes_are_read_off_the_tensors(content, tiny, write, equal, name, config):
    training = content(name) | {"config": config}
    assert equal(from_pretrained(write(training)), from_pretrained(tiny(name)))


@pytest.mark.parametrize("name", ["ghn3_tiny", "ghn2_tiny"])
def test_bare_state_dict(content, tiny, write, equal, name):
    state = content(name)["state_dict"]
    assert equal(from_pretrained(write(state)), from_pretrained(tiny(name)))


def test_decoder_of_convolutions(content, tiny, write, equal):
    training = content("ghn2_tiny")
    for name in DECODER_CONVS:
        training["state_dict"][f"{name}.weight"].unsqueeze_(-1).unsqueeze_(-1)
    assert equal(from_pretrained(write(training)), from_pretrained(tiny("ghn2_tiny")))


@pytest.mark.parametrize("name", ["ghn3_tiny", "ghn2_tiny"])
def test_without_norms(content, write, name):
    training = content(name)
    del training["state_dict"]["ln.weight"], training["state_dict"]["ln.bias"]
    training["config"] |= {"layernorm": False, "weight_norm": False}
    config = from_pretrained(write(training)).config
    assert config["layer_norm"] is config["weight_norm"] is False


@pytest.mark.parametrize("ve", [False, 0])
def test_ghn3_without_virtual_edges(content, write, ve):
    training = content()
    training["config"]["ve"] = ve
    assert from_pretrained(write(training)).config["cutoff"] == 1


def test_ghn3_without_parts(content, write):
    training = content()
    state = training["state_dict"]
    left_out = (*TABLES[:2], "edge_embed", "proj_e")
    kept = {k: v for k, v in state.items() if not any(part in k for part in left_out)}
    config = from_pretrained(write(training | {"state_dict": kept})).config
    assert config["edge_bias"] == "none" and config["heads"] == 8
    assert config["centrality"] is False and config["input_distance"] is True


def test_max_shape_as_the_shape_of_a_tensor(content, write, equal, tiny):
    training = content()
    training["config"]["max_shape"] = torch.Size(training["config"]["max_shape"])
    assert equal(from_pretrained(write(training)), from_pretrained(tiny("ghn3_tiny")))


@pytest.mark.parametrize("config", [{}, {"ve": False, "hypernet": "gatedgnn", "heads": 8}])
def test_ghn2_without_virtual_edges(content, write, config):
    state = content("ghn2_tiny")["state_dict"]
    for name in [name for name in state if "mlp_ve" in name]:
        del state[name]
    state |= {"gnn.mlp.fc.0.weight": torch.ones(16, 16), "gnn.mlp.fc.0.bias": torch.ones(16)}
    state["gnn.mlp.fc.2.weight"] = torch.ones(16, 16)
    ghn = from_pretrained(write({"state_dict": state, "config": config}))
    assert type(ghn) is GHN2 and ghn.config["virtual_edges"] is False


@pytest.mark.parametrize("config", [{}, {"hypernet": "mlp", "decoder": "conv", "ve": True}])
def test_mlp(content, write, config):
    state = content("ghn2_tiny")["state_dict"]
    state = {name: tensor for name, tensor in state.items() if not name.startswith("gnn.")}
    for layer in ("gnn.fc.0", "gnn.fc.2"):
        state |= {f"{layer}.weight": torch.randn(16, 16), f"{layer}.bias": torch.randn(16)}
    ghn = from_pretrained(write({"state_dict": state, "config": config}))
    assert type(ghn) is GHNMLP and torch.equal(ghn.mlp[2].bias, state["gnn.fc.2.bias"])


def test_more_than_9_layers(content, write):
    training = content()
    state = training["state_dict"]
    layers = {k: v for k, v in state.items() if k.startswith("gnn.1.")}
    for number in range(2, 12):
        for name, value in layers.items():
            state[name.replace("gnn.1.", f"gnn.{number}.")] = value + number
    training["config"] = {}
    loaded = from_pretrained(write(training))
    assert len(loaded.convs) == 12
    assert torch.equal(loaded.convs[11].qkv.weight, loaded.convs[1].qkv.weight + 11)


def test_written_by_a_trainer(ghn, write, equal):
    """With the state of an optimizer, a scheduler and whatever else is plain."""
    ghn(ghn.transform(_graph()))[0]["a"].sum().backward()
    optimizer = torch.optim.AdamW(ghn.parameters())
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200, 250])
    training = {
        "state_dict": ghn.state_dict(),
        "config": ghn.config,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "steps": 7,
        "loss": [1.5, float("nan"), None, True, -3, 2**40, "é", ()],
        "device": torch.device("cpu"),
        "size": torch.Size([3]),
    }
    assert equal(from_pretrained(write(training)), ghn)


def _graph():
    from torch_geometric.data import Data

    names, shapes = [None, "a"], [None, (8, 8, 3, 3)]
    return Data(
        x=torch.tensor([[9], [4]]),
        edge_index=torch.tensor([[0], [1]]),
        param_name=names,
        param_shape=shapes,
    )


@pytest.mark.parametrize("name", ["ghn3_tiny", "ghn2_tiny"])
def test_old_format_of_torch_save(content, tiny, write, equal, name):
    path = write(content(name), _use_new_zipfile_serialization=False)
    assert equal(from_pretrained(path), from_pretrained(tiny(name)))


def test_views_of_larger_tensors(content, tiny, write, equal):
    state = content()["state_dict"]
    large = torch.randn(3, 5, 16)
    large[1, 2] = state["ln.weight"]
    state["ln.weight"] = large[1, 2]
    square = state["gnn.0.attn.to_out.0.weight"]
    state["gnn.0.attn.to_out.0.weight"] = square.t().contiguous().t()
    state["ln.bias"] = torch.nn.Parameter(state["ln.bias"])
    assert equal(from_pretrained(write(state)), from_pretrained(tiny("ghn3_tiny")))


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("gnn.1.ff.net.3.bias", None, "lacks the key 'gnn.1.ff.net.3.bias'"),
        ("embed.weight", None, "lacks the key 'embed.weight'"),
        ("decoder.fc.0.weight", None, "lacks the key 'decoder.fc.0.weight'"),
        ("embed.weight", torch.ones(3), r"'embed.weight' of shape \(3,\): no matrix"),
        ("gnn.0.attn.extra", torch.ones(1), "unexpected keys: gnn.0.attn.extra"),
    ],
)
def test_keys_have_their_names_in_the_file(content, write, name, value, message):
    training = content()
    training["state_dict"].pop(name, None)
    if value is not None:
        training["state_dict"][name] = value
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(write(training))


@pytest.mark.parametrize(
    "name, config, message",
    [
        ("ghn3_tiny", {"num_classes": 1000}, "num_classes = 1000, its tensors have 10"),
        ("ghn3_tiny", {"heads": 4}, "heads = 4, its tensors have 8"),
        ("ghn3_tiny", {"layers": 3}, "num_layers = 3, its tensors have 2"),
        ("ghn3_tiny", {"layernorm": False}, "layer_norm = False, its tensors have True"),
        ("ghn3_tiny", {"max_shape": (16, 16, 11, 11)}, r"max_shape = \(16, 16, 11, 11\), its"),
        ("ghn3_tiny", {"max_shape": "16"}, "`max_shape` is not a shape"),
        ("ghn3_tiny", {"is_ghn2": True}, "`is_ghn2` is not False, as it is in every GHN3"),
        ("ghn2_tiny", {"is_ghn2": False}, "`is_ghn2` is not True, as it is in every GHN2"),
        ("ghn2_tiny", {"hypernet": "mlp"}, "`hypernet` is not 'gatedgnn'"),
        ("ghn2_tiny", {"decoder": "mlp"}, "`decoder` is not 'conv'"),
        ("ghn2_tiny", {"ve": False}, "virtual_edges = False, its tensors have True"),
        ("ghn2_tiny", {"hid": 32}, "hidden_channels = 32, its tensors have 16"),
    ],
)
def test_config_that_contradicts_the_tensors(content, write, name, config, message):
    training = content(name)
    training["config"] |= config
    with pytest.raises(CheckpointError, match=f"ghn.pt' .*{message}"):
        from_pretrained(write(training))


@pytest.mark.parametrize(
    "content, message",
    [
        ([1], "no `state_dict` of tensors"),
        ({}, "no `state_dict` of tensors"),
        ({"config": {}}, "no `state_dict` of tensors"),
        ({"state_dict": {"a": 1}}, "no `state_dict` of tensors"),
        ({"state_dict": {}, "config": [1]}, "a `config` that is no dictionary"),
        ({"state_dict": {}}, "holds no GHN"),
        ({"state_dict": {"fc.weight": torch.ones(1)}}, "holds no GHN"),
        (torch.ones(3), "no `state_dict` of tensors"),
    ],
)
def test_other_contents(content, write, message):
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(write(content))


@pytest.mark.parametrize("name", ["ghn3_tiny", "ghn2_tiny"])
@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."]
)
def test_compiled_and_distributed(content, tiny, write, equal, name, prefix):
    training = content(name)
    state = training["state_dict"]
    training["state_dict"] = {f"{prefix}{key}": value for key, value in state.items()}
    training["args"] = Namespace(name="x", lr=1e-3, nested=Namespace(layers=[1, 2]))
    assert equal(from_pretrained(write(training)), from_pretrained(tiny(name)))


def test_our_own_compiled_ghn_keeps_its_config(write, equal):
    ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10, weight_norm=False, cutoff=7)
    state = {f"_orig_mod.{name}": value for name, value in ghn.state_dict().items()}
    assert equal(from_pretrained(write({"state_dict": state, "config": ghn.config})), ghn)


@pytest.mark.parametrize("zipped", [True, False])
def test_arguments_of_the_authors_trainer(content, tiny, write, equal, zipped):
    training = content() | {"args": Namespace(lr=1e-3, name=None, heads=[8], inner=Namespace(a=1))}
    path = write(training, _use_new_zipfile_serialization=zipped)
    assert equal(from_pretrained(path), from_pretrained(tiny("ghn3_tiny")))


@pytest.mark.parametrize(
    "more", [{}, {"is_ghn2": False}, {"is_ghn2": True}, {"hypernet": "gatedgnn"}]
)
def test_ghn1(write, equal, more):
    """The same modules as GHN-2, with neither virtual edges nor norms."""
    ghn = GHN2(16, (8, 8, 5, 5), 10, layer_norm=False, weight_norm=False, virtual_edges=False)
    state = {names.their_name(name): value for name, value in ghn.state_dict().items()}
    for name in DECODER_CONVS:
        state[f"{name}.weight"] = state[f"{name}.weight"][..., None, None]
    config = {"max_shape": (8, 8, 5, 5), "num_classes": 10, "decoder": "conv", "hid": 16,
              "weight_norm": False, "ve": False, "layernorm": False}  # fmt: skip
    assert equal(from_pretrained(write({"state_dict": state, "config": config | more})), ghn)


@pytest.mark.parametrize(
    "keys, config, message",
    [
        (["decoder.l2.weight", "decoder.mlp.fc.0.weight"], {}, "holds a LoGAH, .*low-rank"),
        (["decoder.seq.1.bias"], {}, "holds a LoGAH"),
        ([], {"lora": True, "lora_r": 16}, "holds a LoGAH"),
        (["edge_proj.fc.0.weight", "edge_out.fc.2.bias"], {}, "holds a NiNo, .*training run"),
        ([], {"max_feat_size": 9, "ctx": 5}, "holds a NiNo"),
        (["decoder.mlp.fc.0.weight"], {}, "MLP decoder"),
    ],
)
def test_relatives_are_refused_by_name(content, write, keys, config, message):
    training = content()
    training["state_dict"] |= {key: torch.ones(2, 2) for key in keys}
    training["config"] |= config
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(write(training))


def test_ghn3_of_the_logah_code(content, tiny, write, equal):
    training = content()
    training["config"] |= {"lora": False, "lora_r": 16, "max_ck_lora": 32}
    assert equal(from_pretrained(write(training)), from_pretrained(tiny("ghn3_tiny")))


def test_without_checksums(content, tiny, write, equal):
    torch.serialization.set_crc32_options(False)
    try:
        path = write(content())
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(from_pretrained(path), from_pretrained(tiny("ghn3_tiny")))
