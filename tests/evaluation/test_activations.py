import pytest
import torch
from torch import nn

from pyg_ghn.errors import GHNError
from pyg_ghn.evaluation import activation_variances


class Backwards(nn.Module):
    """Layers run in another order than they are defined in, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)).relu_())
        return self.head(self.conv(x).flatten(1))


@pytest.fixture
def model():
    return Backwards()


@pytest.mark.parametrize("training", [True, False])
def test_order_and_values(training, model):
    model.train(training)
    x = torch.randn(6, 2, 1, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = activation_variances(model, x)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert model.training is training and not any(m._forward_hooks for m in model.modules())

    with torch.no_grad():
        first = model.conv(x)
        mean = first.mean((0, 2, 3), keepdim=True)
        var = ((first - mean) ** 2).mean((0, 2, 3), keepdim=True)
        second = model.conv(((first - mean) / (var + 1e-5).sqrt()).relu())
        outputs = [first, second, model.head(second.flatten(1))]
    assert [name for name, _ in found] == ["conv", "conv", "head"]
    expected = [((out - out.mean()) ** 2).mean().item() for out in outputs]
    assert [value for _, value in found] == pytest.approx(expected, rel=1e-4)


def test_he_weights_keep_the_variance():
    layers = [nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular", bias=False) for _ in "abcd"]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    model = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
    found = activation_variances(model, torch.randn(4, 32, 6, 6))
    assert all(1 < value < 3 for _, value in found)  # 2 behind every layer, about


def test_single_values_no_layers_and_images_that_do_not_fit(model):
    assert activation_variances(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 1, 1)) == [("", 0.0)]
    assert activation_variances(nn.ReLU(), torch.ones(1, 1, 1, 1)) == []
    with pytest.raises(GHNError, match=r"Backwards fails on images of shape \(2, 3, 4, 4\)"):
        activation_variances(model, torch.ones(2, 3, 4, 4))
