import warnings

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention
from torchvision.models.vision_transformer import VisionTransformer

from pyg_ghn.initializers import initialize_mimetic


class TimmLike(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)


def weights(layer):
    """Those of queries, keys, values and of the projection."""
    fused = layer.qkv.weight if hasattr(layer, "qkv") else layer.in_proj_weight
    proj = layer.proj if hasattr(layer, "proj") else layer.out_proj
    return *fused.detach().chunk(3), proj.weight.detach()


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.MultiheadAttention(64, 4),
        lambda: ShiftedWindowAttention(64, [4, 4], [0, 0], 4),
        lambda: TimmLike(64, 4),
    ],
    ids=["torch", "swin", "timm"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products(build, dtype):
    layer = build().to(dtype)
    biases = {n: p.clone() for n, p in layer.named_parameters() if "bias" in n}
    state = torch.get_rng_state()
    assert initialize_mimetic(nn.Sequential(layer)) and torch.equal(torch.get_rng_state(), state)
    q, k, v, proj = weights(layer)
    assert q.dtype is dtype
    # The layer's output is x W_V^T W_proj^T: a negative identity, and noise of variance 1 / 64.
    values = v.T @ proj.T
    noise = values + 0.4 * torch.eye(64)
    assert float(noise.std()) == pytest.approx(0.4 / 8, rel=0.05)
    assert abs(float(noise.diagonal().mean())) < 0.02
    products = [q[rows].T @ k[rows] for rows in torch.arange(64).chunk(4)]
    for product in products:
        # Rank 16 of 64: the largest singular values of 0.7 (Z + I), which are more than 0.7.
        singular = torch.linalg.svdvals(product)
        assert singular[15] > 0.8 and singular[16] < 1e-5
        assert 0.1 < float(product.diagonal().mean()) < 0.7
        off = (product - torch.diag(product.diagonal())).abs().mean()
        assert float(product.diagonal().mean()) > 3 * float(off)
    assert (products[0] - products[1]).norm() > 1  # each head has a noise of its own
    assert all(torch.equal(layer.get_parameter(n), p) for n, p in biases.items())


def test_one_head_without_noise():
    layer = nn.MultiheadAttention(8, 1, bias=False).double()
    initialize_mimetic(layer, alpha1=0.0, beta1=0.5, alpha2=0.0, beta2=2.0)
    q, k, v, proj = weights(layer)
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(q.T @ k, 0.5 * eye)
    torch.testing.assert_close(v.T @ proj.T, -2 * eye)
    out, _ = layer(x := torch.randn(1, 3, 8, dtype=torch.float64), x, x)
    torch.testing.assert_close(out, -2 * x)  # batch comes second: each token sees itself


def test_all_layers_of_a_vit_and_nothing_else():
    model = VisionTransformer(32, 16, 2, 3, 24, 72)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    initialize_mimetic(model, generator=torch.Generator().manual_seed(1))
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {
        f"encoder.layers.encoder_layer_{i}.self_attention.{name}"
        for i in range(2)
        for name in ("in_proj_weight", "out_proj.weight")
    }
    other = VisionTransformer(32, 16, 2, 3, 24, 72)
    initialize_mimetic(other, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(model.get_parameter(n), other.get_parameter(n)) for n in changed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initialize_mimetic(other)
    assert not any(torch.equal(model.get_parameter(n), other.get_parameter(n)) for n in changed)
    model = nn.Sequential(nn.Linear(4, 12), nn.Linear(4, 4))
    model.num_heads = 3.0  # is no number of heads
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.warns(UserWarning, match="no self-attention layer"):
        assert initialize_mimetic(model) is model
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
