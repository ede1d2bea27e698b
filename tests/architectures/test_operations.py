import pytest
import torch
import torch.nn.functional as F

from pyg_ghn.architectures.operations import (
    OPERATIONS,
    FactorizedReduce,
    SqueezeExcitation,
    TransformerLayer,
    build_operation,
    keeps_channels,
)


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
