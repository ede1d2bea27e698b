import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.architectures.operations import (
    OPERATIONS,
    FactorizedReduce,
    SqueezeExcitation,
    TransformerLayer,
    build_operation,
    keeps_channels,
)


def norm(i):
    return {f"op.{i}.weight": (16,), f"op.{i}.bias": (16,)}


def depthwise(i, kernel):
    return {f"op.{i}.weight": (16, 1, kernel, kernel), f"op.{i + 1}.weight": (16, 16, 1, 1)}


SHAPES = {
    "conv_3x3": {"op.1.weight": (16, 16, 3, 3)} | norm(2),
    "conv_7x1_1x7": {"op.1.weight": (16, 16, 1, 7), "op.2.weight": (16, 16, 7, 1)} | norm(3),
    "sep_conv_5x5": depthwise(1, 5) | norm(3) | depthwise(5, 5) | norm(7),
    "dil_conv_3x3": depthwise(1, 3) | norm(3),
    "msa": {
        **{f"ln{i}.{name}": (16,) for i in (1, 2) for name in ("weight", "bias")},
        **{"attn.to_qkv.weight": (48, 16), "attn.to_out.0.weight": (16, 16)},
        "attn.to_out.0.bias": (16,),
        **{f"ff.net.{i}.weight": (16, 16) for i in (0, 3)},
        **{f"ff.net.{i}.bias": (16,) for i in (0, 3)},
    },
    "cse": {"fc1.weight": (8, 16), "fc1.bias": (8,), "fc2.weight": (16, 8), "fc2.bias": (16,)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameter_names_and_shapes(name):
    op = build_operation(name, 16, 16, 1, "bnorm", "meta")
    assert {key: tuple(p.shape) for key, p in op.named_parameters()} == SHAPES[name]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "none"])
def test_sizes(name, stride):
    x = torch.randn(2, 16, 8, 12)
    out = build_operation(name, 16, 16, stride, None, "cpu")(x)
    assert out.shape == (2, 16, 8 // stride, 12 // stride)
    assert out.isfinite().all() and (out != 0).any()
    wide = build_operation(name, 16, 32, stride, "bnorm", "cpu")(x)
    channels = 16 if keeps_channels(name, stride) else 32
    assert wide.shape == (2, channels, 8 // stride, 12 // stride)


WIDENED = {
    ("conv_3x3", 1): {1: (32, 16, 3, 3)},
    ("conv_7x1_1x7", 1): {1: (16, 16, 1, 7), 2: (32, 16, 7, 1)},
    ("dil_conv_5x5", 1): {1: (16, 1, 5, 5), 2: (32, 16, 1, 1)},
    ("sep_conv_3x3", 2): {1: (16, 1, 3, 3), 2: (16, 16, 1, 1), 5: (16, 1, 3, 3), 6: (32, 16, 1, 1)},
}


@pytest.mark.parametrize(("name", "stride"), WIDENED)
def test_shapes_of_more_output_channels(name, stride):
    op = build_operation(name, 16, 32, stride, None, "meta")
    shapes = {f"op.{i}.weight": shape for i, shape in WIDENED[name, stride].items()}
    assert {key: tuple(p.shape) for key, p in op.named_parameters()} == shapes


def test_shapes_of_more_output_channels_of_a_skip_connection():
    op = build_operation("skip_connect", 16, 32, 2, None, "meta")
    shapes = {"conv_1.weight": (16, 16, 1, 1), "conv_2.weight": (16, 16, 1, 1)}
    assert {key: tuple(p.shape) for key, p in op.named_parameters()} == shapes


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_only_norm_parameters_go_without_norm(name, stride):
    op, free = (build_operation(name, 16, 16, stride, norm, "meta") for norm in ("bnorm", None))
    norms = [key for key, module in op.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) == ("conv" in name or (name, stride) == ("skip_connect", 2))
    of_norms = {f"{key}.{parameter}" for key in norms for parameter in ("weight", "bias")}
    names, left = ({key for key, _ in module.named_parameters()} for module in (op, free))
    assert of_norms <= names and left == names - of_norms


def test_which_pixels_are_read():
    conv = OPERATIONS["dil_conv_3x3"](1, 1, 1, None, "cpu")
    torch.nn.init.ones_(conv.op[1].weight)
    torch.nn.init.ones_(conv.op[2].weight)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    assert conv(x)[0, 0].nonzero().tolist() == [[i, j] for i in (2, 4, 6) for j in (2, 4, 6)]
    pool = OPERATIONS["avg_pool_3x3"](1, 1, 1, None, "cpu")
    assert torch.equal(pool(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))
    module = FactorizedReduce(1, 2)
    torch.nn.init.ones_(module.conv_1.weight)
    torch.nn.init.ones_(module.conv_2.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert module(x)[0].tolist() == [[[0, 2], [8, 10]], [[5, 7], [13, 15]]]
    assert (module(-x) == 0).all()  # a ReLU comes first


@pytest.mark.parametrize("stride", [1, 2])
def test_squeeze_excitation(stride):
    module, x = SqueezeExcitation(8, stride), torch.randn(3, 8, 4, 4)
    gate = F.hardswish(module.fc2(module.fc1(x.mean(dim=(2, 3))).relu()))
    torch.testing.assert_close(module(x), (x * gate.view(3, 8, 1, 1))[:, :, ::stride, ::stride])


def test_transformer_layer_matches_explicit_attention_and_subsamples():
    layer, x = TransformerLayer(16), torch.randn(2, 16, 3, 5)
    tokens = x.permute(0, 2, 3, 1).reshape(2, 15, 16)
    query, key, value = layer.attn.to_qkv(layer.ln1(tokens)).chunk(3, dim=-1)
    heads = []
    for i in range(0, 16, 2):  # 8 heads of size 2
        scores = query[..., i : i + 2] @ key[..., i : i + 2].transpose(1, 2) / 2**0.5
        heads.append(scores.softmax(dim=-1) @ value[..., i : i + 2])
    tokens = tokens + layer.attn.to_out(torch.cat(heads, dim=-1))
    tokens = tokens + layer.ff(layer.ln2(tokens))
    expected = tokens.reshape(2, 3, 5, 16).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), expected)
    layer, x = TransformerLayer(16, stride=2), torch.randn(2, 16, 3, 5)
    out = layer(x)
    layer.stride = 1
    assert torch.equal(out, layer(x)[:, :, ::2, ::2])
