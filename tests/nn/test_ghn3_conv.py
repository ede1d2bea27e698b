import pytest
import torch
import torch.nn.functional as F

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import GHN3Conv

SIZES = (7, 1, 12)


@pytest.fixture
def conv():
    return GHN3Conv(16, heads=4)


def make_batch():
    x = torch.randn(sum(SIZES), 16)
    batch = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    return x, batch, [torch.randn(1, 4, n, n) for n in SIZES]


def reference(conv, x, bias):
    """The layer with attention written out, for one graph."""
    q, k, v = F.linear(conv.norm1(x), conv.qkv.weight).view(-1, 3, 4, 4).permute(1, 2, 0, 3)
    attention = (q @ k.transpose(1, 2) / 2 + bias[0]).softmax(-1)
    x = x + conv.out((attention @ v).transpose(0, 1).flatten(1))
    return x + conv.mlp[2](F.gelu(conv.mlp[0](conv.norm2(x))))


def test_against_attention_written_out(conv):
    x, batch, bias = make_batch()
    parts = zip(x.split(SIZES), bias, strict=True)
    expected = torch.cat([reference(conv, part, b) for part, b in parts])
    assert torch.allclose(conv(x, batch, bias), expected, atol=1e-6)


def test_batch_equals_single_graphs(conv):
    x, batch, bias = make_batch()
    singles = [conv(part, None, [b]) for part, b in zip(x.split(SIZES), bias, strict=True)]
    assert torch.allclose(conv(x, batch, bias), torch.cat(singles), atol=1e-6)


def test_permutation_equivariance(conv):
    x, bias, order = torch.randn(9, 16), torch.randn(1, 4, 9, 9), torch.randperm(9)
    out = conv(x, None, [bias])
    assert torch.allclose(
        conv(x[order], None, [bias[:, :, order][..., order]]), out[order], atol=1e-6
    )


def test_nothing_leaks_between_graphs(conv):
    x, batch, bias = make_batch()
    x.requires_grad_()
    conv(x, batch, bias)[batch == 0].sum().backward()
    assert x.grad[batch == 0].any(dim=1).all() and not x.grad[batch > 0].any()


def test_without_bias(conv):
    x, batch, bias = make_batch()
    zeros = [torch.zeros_like(b) for b in bias]
    assert torch.allclose(conv(x, batch), conv(x, batch, zeros), atol=1e-6)
    assert torch.allclose(conv(x), conv(x, torch.zeros(len(x), dtype=torch.long)), atol=1e-6)


def test_gradients(conv):
    x, batch, bias = make_batch()
    bias = [b.requires_grad_() for b in bias]
    conv(x, batch, bias).pow(2).sum().backward()
    assert all(p.grad.any() for p in conv.parameters())
    assert bias[0].grad.any() and bias[2].grad.any()
    assert not bias[1].grad.any()  # one node attends to itself whatever the bias


def test_bias_that_does_not_fit(conv):
    with pytest.raises(ConfigError, match=r"graphs of \[5\] nodes, but `x` has 9 nodes"):
        conv(torch.randn(9, 16), None, [torch.zeros(1, 4, 5, 5)])


def test_heads_must_divide_channels():
    with pytest.raises(ConfigError, match="divide"):
        GHN3Conv(16, heads=3)


def test_reset_and_repr(conv):
    before = conv.qkv.weight.clone()
    conv.norm1.weight.data.fill_(2)
    conv.reset_parameters()
    assert not torch.equal(conv.qkv.weight, before) and (conv.norm1.weight == 1).all()
    assert str(conv) == "GHN3Conv(16, heads=4)"
