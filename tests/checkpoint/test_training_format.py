from argparse import Namespace

import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.checkpoint import config as module
from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN2, GHN3, GHNMLP

BOTH = ("ghn3_tiny", "ghn2_tiny")
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
    sizes = {"hidden_channels": 16, "max_shape": [16, 16, size, size], "num_classes": 10}
    config = {**sizes, "layer_norm": True, "weight_norm": True, **more}
    assert type(ghn) is cls and ghn.config == config
    assert sum(p.numel() for p in ghn.parameters()) == count


@pytest.mark.parametrize("name", BOTH)
def test_names_of_all_parameters(content, name):
    """Ours are told from theirs and back."""
    for theirs in content(name)["state_dict"]:
        ours = module.our_name(theirs)
        assert ours != theirs and theirs.endswith(module.their_name(ours))
        assert module.our_name(ours) == ours


def tables_at_top_level(training):
    state = training["state_dict"]
    for table in TABLES:
        state[f"{table}.weight"] = state.pop(f"gnn.0.{table}.weight")


def decoder_of_convolutions(training):
    for name in DECODER_CONVS:
        training["state_dict"][f"{name}.weight"].unsqueeze_(-1).unsqueeze_(-1)


def views_of_larger_tensors(training):
    state = training["state_dict"]
    large = torch.randn(3, 5, 16)
    large[1, 2] = state["ln.weight"]
    state["ln.weight"] = large[1, 2]
    square = state["gnn.0.attn.to_out.0.weight"]
    state["gnn.0.attn.to_out.0.weight"] = square.t().contiguous().t()
    state["ln.bias"] = torch.nn.Parameter(state["ln.bias"])
    return state


def wrapped(prefix):
    """As of a compiled or distributed GHN, with arguments beside it."""

    def change(training):
        state = training["state_dict"]
        training["state_dict"] = {f"{prefix}{key}": value for key, value in state.items()}
        training["args"] = Namespace(name=None, lr=1e-3, heads=[8], nested=Namespace(layers=[1, 2]))

    return change


# What leaves the GHN as it is.
CHANGES = {
    "none": (BOTH, lambda training: None),
    "bare state dict": (BOTH, lambda training: training["state_dict"]),
    "empty config": (BOTH, lambda training: training.update(config={})),
    "no config": (BOTH, lambda training: training.update(config=None)),
    "few sizes": (BOTH, lambda training: training.update(config={"num_classes": 10, "hid": None})),
    "tables at top level": (BOTH[:1], tables_at_top_level),
    "decoder of convolutions": (BOTH[1:], decoder_of_convolutions),
    "shape of a tensor": (
        BOTH[:1],
        lambda training: training["config"].update(max_shape=torch.Size([16] * 4)),
    ),
    "views": (BOTH[:1], views_of_larger_tensors),
    "arguments": (BOTH, wrapped("")),
    "compiled": (BOTH, wrapped("_orig_mod.")),
    "distributed": (BOTH, wrapped("module.")),
    "distributed and compiled": (BOTH, wrapped("module._orig_mod.")),
    "compiled and distributed": (BOTH, wrapped("_orig_mod.module.")),
    "options of the LoGAH code": (
        BOTH[:1],
        lambda training: training["config"].update(lora=False, lora_r=16, max_ck_lora=32),
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for change in CHANGES for name in CHANGES[change][0]]
)
def test_the_same_ghn(content, tiny, write, equal, name, change, zipped):
    training = content(name)
    training = CHANGES[change][1](training) or training
    path = write(training, _use_new_zipfile_serialization=zipped)
    assert equal(from_pretrained(path), from_pretrained(tiny(name)))


def test_without_checksums(content, tiny, write, equal):
    torch.serialization.set_crc32_options(False)
    try:
        path = write(content())
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(from_pretrained(path), from_pretrained(tiny("ghn3_tiny")))


NORMS = ("ln.weight", "ln.bias")
NO_NORMS = {"layernorm": False, "weight_norm": False}
OPTIONS = [
    ("ghn3_tiny", NORMS, NO_NORMS, {"layer_norm": False, "weight_norm": False}),
    ("ghn2_tiny", NORMS, NO_NORMS, {"layer_norm": False, "weight_norm": False}),
    ("ghn3_tiny", (), {"ve": False}, {"cutoff": 1}),
    ("ghn3_tiny", (), {"ve": 0}, {"cutoff": 1}),
    ("ghn3_tiny", ("edge_embed", "proj_e"), {}, {"edge_bias": "none", "heads": 8}),
    ("ghn3_tiny", TABLES[:2], {}, {"centrality": False, "input_distance": True}),
]


@pytest.mark.parametrize(("name", "left_out", "config", "expected"), OPTIONS)
def test_ghns_without_parts(content, write, name, left_out, config, expected):
    training = content(name)
    training["config"] |= config
    kept = training["state_dict"].items()
    training["state_dict"] = {k: v for k, v in kept if not any(part in k for part in left_out)}
    found = from_pretrained(write(training)).config
    for key, value in expected.items():
        assert found[key] == value and type(found[key]) is type(value), key


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
    graph = Data(x=torch.tensor([[9], [4]]), edge_index=torch.tensor([[0], [1]]))
    graph.param_name, graph.param_shape = [None, "a"], [None, (8, 8, 3, 3)]
    ghn(ghn.transform(graph))[0]["a"].sum().backward()
    optimizer = torch.optim.AdamW(ghn.parameters())
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200, 250])
    training = {"state_dict": ghn.state_dict(), "config": ghn.config}
    training |= {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    training |= {"rng": torch.get_rng_state(), "steps": 7, "size": torch.Size([3])}
    training["loss"] = [1.5, float("nan"), None, True, -3, 2**40, "é", ()]
    assert equal(from_pretrained(write(training | {"device": torch.device("cpu")})), ghn)


def test_our_own_compiled_ghn_keeps_its_config(write, equal):
    ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10, weight_norm=False, cutoff=7)
    state = {f"_orig_mod.{name}": value for name, value in ghn.state_dict().items()}
    assert equal(from_pretrained(write({"state_dict": state, "config": ghn.config})), ghn)


@pytest.mark.parametrize(
    "more", [{}, {"is_ghn2": False}, {"is_ghn2": True}, {"hypernet": "gatedgnn"}]
)
def test_ghn1(write, equal, more):
    """The same modules as GHN-2, with neither virtual edges nor norms."""
    ghn = GHN2(16, (8, 8, 5, 5), 10, layer_norm=False, weight_norm=False, virtual_edges=False)
    state = {module.their_name(name): value for name, value in ghn.state_dict().items()}
    for name in DECODER_CONVS:
        state[f"{name}.weight"] = state[f"{name}.weight"][..., None, None]
    config = {"max_shape": (8, 8, 5, 5), "num_classes": 10, "decoder": "conv", "hid": 16,
              "weight_norm": False, "ve": False, "layernorm": False}  # fmt: skip
    assert equal(from_pretrained(write({"state_dict": state, "config": config | more})), ghn)


ONES = torch.ones(2, 2)
LOGAH = ("decoder.l2.weight", "decoder.mlp.fc.0.weight")
NINO = ("edge_proj.fc.0.weight", "edge_out.fc.2.bias")


@pytest.mark.parametrize(
    ("name", "tensors", "config", "message"),
    [
        # Keys have their names in the file; None takes one out.
        ("ghn3_tiny", {"gnn.1.ff.net.3.bias": None}, {}, "lacks the key 'gnn.1.ff.net.3.bias'"),
        ("ghn3_tiny", {"embed.weight": None}, {}, "lacks the key 'embed.weight'"),
        ("ghn3_tiny", {"decoder.fc.0.weight": None}, {}, "lacks the key 'decoder.fc.0.weight'"),
        (
            "ghn3_tiny",
            {"embed.weight": torch.ones(3)},
            {},
            r"'embed.weight' of shape \(3,\): no mat",
        ),
        ("ghn3_tiny", {"gnn.0.attn.extra": ONES}, {}, "unexpected keys: gnn.0.attn.extra"),
        ("ghn3_tiny", {"input_dist_embed.weight": ONES}, {}, "twice, as gnn.0.input_dist_embed"),
        ("ghn3_tiny", {}, {"num_classes": 1000}, "num_classes = 1000, its tensors have 10"),
        ("ghn3_tiny", {}, {"heads": 4}, "heads = 4, its tensors have 8"),
        ("ghn3_tiny", {}, {"layers": 3}, "num_layers = 3, its tensors have 2"),
        ("ghn3_tiny", {}, {"layernorm": False}, "layer_norm = False, its tensors have True"),
        ("ghn3_tiny", {}, {"max_shape": (16, 16, 11, 11)}, r"max_shape = \(16, 16, 11, 11\), its"),
        ("ghn3_tiny", {}, {"max_shape": "16"}, "`max_shape` is not a shape"),
        ("ghn3_tiny", {}, {"ve": torch.ones(3)}, "`ve` is a tensor"),
        ("ghn3_tiny", {}, {"lora": torch.ones(3)}, "`lora` is a tensor"),
        ("ghn3_tiny", {}, {"is_ghn2": True}, "`is_ghn2` is not False, as it is in every GHN3"),
        ("ghn2_tiny", {}, {"is_ghn2": False}, "`is_ghn2` is not True, as it is in every GHN2"),
        ("ghn2_tiny", {}, {"hypernet": "mlp"}, "`hypernet` is not 'gatedgnn'"),
        ("ghn2_tiny", {}, {"decoder": "mlp"}, "`decoder` is not 'conv'"),
        ("ghn2_tiny", {}, {"ve": False}, "virtual_edges = False, its tensors have True"),
        ("ghn2_tiny", {}, {"hid": 32}, "hidden_channels = 32, its tensors have 16"),
        # Relatives are refused by name.
        ("ghn3_tiny", dict.fromkeys(LOGAH, ONES), {}, "holds a LoGAH, .*low-rank"),
        ("ghn3_tiny", {"decoder.seq.1.bias": ONES}, {}, "holds a LoGAH"),
        ("ghn3_tiny", {}, {"lora": True, "lora_r": 16}, "holds a LoGAH"),
        ("ghn3_tiny", dict.fromkeys(NINO, ONES), {}, "holds a NiNo, .*training run"),
        ("ghn3_tiny", {}, {"max_feat_size": 9, "ctx": 5}, "holds a NiNo"),
        ("ghn3_tiny", {"decoder.mlp.fc.0.weight": ONES}, {}, "MLP decoder"),
    ],
)
def test_what_does_not_fit(content, write, name, tensors, config, message):
    training = content(name)
    training["config"] |= config
    state = training["state_dict"] | tensors
    training["state_dict"] = {key: value for key, value in state.items() if value is not None}
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
