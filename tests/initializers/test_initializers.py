"""Noise and orthogonal weights, on their own and in `initialize`."""

import copy

import pytest
import torch
from torch import nn

import pyg_ghn
from pyg_ghn.errors import ConfigError
from pyg_ghn.initializers import noisy, orthogonal
from pyg_ghn.nn import GHN3

pytestmark = pytest.mark.filterwarnings("ignore::pyg_ghn.errors.UnpredictedWarning")


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (40, 2, 1, 1), (5, 5)])
def test_orthogonal(shape):
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = orthogonal(weight).flatten(1)
    product = min(matrix @ matrix.mT, matrix.mT @ matrix, key=len)
    torch.testing.assert_close(
        product, torch.eye(len(product), dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert (weight * orthogonal(weight)).sum() > 0
    assert orthogonal(weight).dtype is torch.float64
    assert torch.equal(orthogonal(2 * weight), orthogonal(weight))


def test_noise_has_its_size():
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    noise = noisy(weight, 0.1, generator) - weight
    matrix = weight.flatten(1).mT
    expected = 0.1 * torch.corrcoef(matrix).std(correction=0)
    assert noise.std() == pytest.approx(float(expected), rel=0.05)
    assert torch.equal(noisy(weight[0, 0, 0], 1.0), weight[0, 0, 0])
    assert noisy(torch.zeros(4, 4), 1.0).isfinite().all()
    embedding = torch.rand(1, 197, 768)  # the correlations of its values would take 90 GB
    assert torch.equal(noisy(embedding, 1.0), embedding)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )


def changed(model, **options):
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(0)
    ghn = GHN3(16, 1, 4, (16, 16, 5, 5), num_classes=10)
    pyg_ghn.initialize(model, ghn, (3, 8, 8), **options)
    return {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}


def test_what_is_taken(model):
    norms, classifier = {"1.weight", "1.bias"}, {"4.weight", "4.bias"}
    everything = {"0.weight", "0.bias"} | norms | classifier
    for options, expected in (
        ({}, everything),
        ({"what": "norms"}, norms),
        ({"what": "kernels"}, {"0.weight", "4.weight"}),
        ({"new_classifier": True}, everything - classifier),
        ({"what": "kernels", "new_classifier": True}, {"0.weight"}),
    ):
        assert changed(copy.deepcopy(model), **options) == expected, options
    with pytest.raises(ConfigError, match="what must be one of all, norms, kernels, got 'all of"):
        changed(model, what="all of it")


def test_noise_and_orthogonal_weights_leave_the_last_layer(model):
    plain, other = copy.deepcopy(model), copy.deepcopy(model)
    changed(plain)
    changed(other, noise=0.1, orthogonal=True)
    assert torch.equal(plain[4].weight, other[4].weight)
    assert torch.equal(plain[1].weight, other[1].weight)
    expected = orthogonal(plain[0].weight.detach())
    distance = (other[0].weight - expected).abs().max()
    assert 0 < distance < 1


@torch.no_grad()
def test_rescaled_weights_compute_the_same():
    """He's scale where only a normalization sees the outputs: not of the last layer, nor where a
    sigmoid or a second way lies between."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain, self.sigmoid, self.twice = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))
            self.fc = nn.Linear(3, 10)

        def forward(self, x):
            x = self.norms[0](self.plain(x))
            x = self.norms[1](torch.nn.functional.silu(self.sigmoid(x), inplace=True))
            y = self.twice(x)
            return self.fc((self.norms[2](y) + y).mean((2, 3)))

    torch.manual_seed(0)
    ghn, plain = GHN3(16, 1, 4, (16, 16, 5, 5), num_classes=10), Model().eval()
    for param in ghn.decoder.kernel[2].parameters():
        param.mul_(100)  # or epsilon is what normalizes
    rescaled, images = copy.deepcopy(plain), torch.randn(16, 3, 8, 8)
    pyg_ghn.initialize(plain, ghn, images=images)
    pyg_ghn.initialize(rescaled, ghn, images=images, rescale=True)
    with pytest.raises(ConfigError, match="pass images"):
        pyg_ghn.initialize(plain, ghn, (3, 8, 8), rescale=True)
    pairs = zip(rescaled.named_parameters(), plain.parameters(), strict=True)
    changed = [name for (name, value), before in pairs if not torch.equal(value, before)]
    assert changed == ["plain.weight", "plain.bias"]
    assert rescaled.plain.weight.std() == pytest.approx((2 / 27) ** 0.5, rel=1e-4)
    torch.testing.assert_close(rescaled(images), plain(images), rtol=1e-3, atol=1e-4)
