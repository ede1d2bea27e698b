import copy
import math
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.evaluation import PROXIES, score

IMAGES, LABELS = torch.Size((5, 3, 6, 6)), torch.tensor([0, 2, 1, 1, 0])
STEP = 1e-5  # of differences


def make_net():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Conv2d(4, 4, 3, groups=2, padding=1),
        nn.Hardswish(inplace=True),  # changes the output of the layer before it
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
    )
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    return net.double()


@pytest.fixture
def net():
    return make_net()


@pytest.fixture
def x():
    return torch.randn(IMAGES, dtype=torch.float64)


def layers(net):
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def derivative(f, values):
    """Differences of a function, entry by entry, while the tensor changes in place."""
    found = torch.empty_like(values)
    for index in np.ndindex(*values.shape):
        kept = values[index].item()
        values[index] = kept + STEP
        above = f()
        values[index] = kept - STEP
        found[index] = (above - f()) / (2 * STEP)
        values[index] = kept
    return found


@torch.no_grad()
def slow_gradients(net, x):
    net = copy.deepcopy(net).train()
    return [
        (layer.weight, derivative(lambda: F.cross_entropy(net(x), LABELS), layer.weight))
        for layer in layers(net)
    ]


def test_first_derivatives(net, x):
    pairs = slow_gradients(net, x)
    found = score(net, x, LABELS, ["gradnorm", "snip", "plain"])
    expected = {
        "gradnorm": sum(math.sqrt((g**2).sum()) for _, g in pairs),
        "snip": sum((w * g).abs().sum().item() for w, g in pairs),
        "plain": sum((w * g).sum().item() for w, g in pairs),
    }
    assert found == pytest.approx(expected, rel=1e-6)
    assert found["plain"] != pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("activation", [nn.Hardswish(inplace=True), nn.Hardsigmoid()])
def test_grasp(activation, net, x):
    net[4] = activation
    gradients = [g for _, g in slow_gradients(net, x)]
    shifted = []
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            for layer, g in zip(layers(moved), gradients, strict=True):
                layer.weight += sign * 1e-4 * g
        shifted.append([g for _, g in slow_gradients(moved, x)])
    triples = zip(layers(net), *shifted, strict=True)
    product = sum((layer.weight * (a - b)).sum().item() / 2e-4 for layer, a, b in triples)
    found = score(net, x, LABELS, ["grasp"])["grasp"]
    assert found == pytest.approx(-product, rel=1e-3) and abs(found) > 1e-3


@torch.no_grad()
def test_fisher(net, x):
    slow = copy.deepcopy(net).train()
    expected = 0.0
    for layer in layers(slow):
        channels = layer.weight.shape[0]
        # a * dL/da, added up over positions, is how the loss changes as the channel is scaled
        scale = torch.ones(len(x), channels, dtype=torch.float64)
        handle = layer.register_forward_hook(
            lambda m, args, out, s=scale: out * s.view(*s.shape, *[1] * (out.dim() - 2))
        )
        sums = derivative(lambda: F.cross_entropy(slow(x), LABELS), scale)
        handle.remove()
        for channel in range(channels):
            value = 0.5 * sum(sums[b, channel].item() ** 2 for b in range(len(x))) / len(x)
            expected += value * layer.weight[channel].numel()
    assert score(net, x, LABELS, ["fisher"])["fisher"] == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_jacob_cov(net, x):
    slow, pixels = copy.deepcopy(net).train(), x.clone()
    jacobian = derivative(lambda: slow(pixels).sum(), pixels).flatten(1).numpy()
    v, k = np.linalg.eigvalsh(np.corrcoef(jacobian)), 1e-5
    expected = -sum(math.log(value + k) + 1 / (value + k) for value in v)
    assert score(net, x, LABELS, ["jacob_cov"])["jacob_cov"] == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["synflow", "synflow-bn"])
def test_synflow(name, net, x):
    slow = copy.deepcopy(net).train()
    for tensor in (*slow.parameters(), *slow.buffers()):
        tensor.copy_(tensor.abs())
    if name == "synflow":
        slow[1] = nn.Identity()
    # Not all the same to the convolution, or BatchNorm would leave nothing of it.
    slow[0].padding = net[0].padding = (1, 1)
    ones = torch.ones(1, 3, 6, 6, dtype=torch.float64)
    expected = 0.0
    for layer in layers(slow):
        gradient = derivative(lambda: slow(ones).sum(), layer.weight)
        expected += (layer.weight * gradient).abs().sum().item()
    for model in (net, copy.deepcopy(net).float()):  # the type makes little difference
        found = score(model, x, LABELS, [name])[name]
        assert found == pytest.approx(expected, rel=1e-5)


def test_synflow_of_a_linear_chain_and_of_large_weights():
    a, b = torch.tensor([[1.0, -2.0], [0.0, 3.0], [-1.0, 1.0]]), torch.tensor([[2.0, -1.0, 0.5]])
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, False), nn.Linear(3, 1, False))
    net[1].weight.data, net[2].weight.data = a, b
    # R = 1 |A| |B| = 2 * 3 + 1 * 3 + 0.5 * 2 = 10, and each layer's sum of w * dR/dw is R
    found = score(net, torch.randn(2, 2, 1, 1), torch.zeros(2, dtype=torch.long), ["synflow"])
    assert found == {"synflow": 20.0}
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(8, 8, False) for _ in range(40)))
    for layer in net[1:]:
        nn.init.constant_(layer.weight, 10)
    x, y = torch.randn(2, 8, 1, 1), torch.tensor([0, 1])
    assert score(net, x, y, ["synflow"])["synflow"] == pytest.approx(40 * 8 * 80.0**40)
    assert "plain of Sequential is" in str(score(net, x, y, ["plain"])["plain"])  # not finite


def test_sizes():
    weights, x = ResNet18_Weights.DEFAULT.meta, torch.randn(2, 3, 224, 224)
    found = score(resnet18(), x, torch.tensor([0, 1]), ["params", "multiply-adds"])
    assert found["params"] == weights["num_params"]
    assert found["multiply-adds"] / 1e9 == pytest.approx(weights["_ops"], abs=5e-4)


class Attention(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        layer = nn.TransformerEncoderLayer(channels, 2, 16, dropout=0.5, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(channels, 3)

    def forward(self, x):
        return self.head(self.encoder(x.flatten(2).mT).mean(1))


@pytest.mark.parametrize("mode", [True, False])
def test_attention(mode):
    net, x = Attention().train(mode), torch.randn(4, 8, 2, 3)
    found = score(net, x, torch.tensor([0, 1, 2, 0]))
    assert all(isinstance(value, float) for value in found.values()), found
    tokens, c = 6, 8
    linear = tokens * (4 * c * c + 2 * 16 * c) + 3 * c
    assert found["multiply-adds"] == linear + 2 * tokens * tokens * c
    assert found == score(net, x, torch.tensor([0, 1, 2, 0]))  # dropout is off


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_fisher_of_a_linear_layer_with_positions():
    net, x = nn.Linear(2, 2), torch.randn(3, 1, 4, 2)
    model = nn.Sequential(net, nn.Flatten(1, 2), Mean())
    out = net(x).detach().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(out.flatten(1, 2).mean(1), LABELS[2:] % 2), out)
    expected = ((out * grad).sum((1, 2)) ** 2).mean(0).sum().item() / 2 * 2  # [images, channels]
    assert score(model, x, LABELS[2:] % 2, ["fisher"])["fisher"] == pytest.approx(expected)


def describe(net):
    modules = [*net.modules()]
    return (
        [(name, value.tolist(), value._version) for name, value in net.state_dict().items()],
        [(id(p), p.requires_grad, id(p.grad)) for p in net.parameters()],
        [(m.training, getattr(m, "track_running_stats", None)) for m in modules],
        [(list(m._forward_hooks), "forward" in vars(m)) for m in modules],
    )


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("outer", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_nothing_changes(frozen, outer, net, x):
    expected = score(net, x, LABELS)
    net.requires_grad_(not frozen)[3].eval()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    net[3].register_forward_hook(lambda module, args, out: None)
    before, state = describe(net), torch.get_rng_state()
    with outer():
        found = score(net, x.clone(), LABELS)
    assert found == expected
    assert all(isinstance(value, float) for value in found.values()), found
    assert describe(net) == before
    assert torch.equal(torch.get_rng_state(), state) and not x.requires_grad


Outputs = namedtuple("Outputs", "logits aux")


class Wrapped(nn.Module):
    def __init__(self, net, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize(
    "wrap", [lambda y: Outputs(y, None), lambda y: {"out": y, "aux": y}, lambda y: [(y, y), y]]
)
def test_several_outputs_and_unused_layers(wrap, net, x):
    expected = score(net, x, LABELS)
    found = score(Wrapped(net, wrap).double(), x, LABELS)
    assert found.pop("params") == expected.pop("params") + 6
    assert found == pytest.approx(expected)


def test_shared_and_parametrized_weights(x):
    net = make_net()
    expected = score(net, x, LABELS)
    nn.utils.parametrizations.weight_norm(net[0])
    found = score(net, x, LABELS)
    for name in ("gradnorm", "snip", "plain", "fisher", "jacob_cov"):
        assert found[name] == pytest.approx(expected[name]), name
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    net[3].weight = net[1].weight
    x = torch.randn(5, 3, 1, 1, dtype=torch.float64)
    loss = F.cross_entropy(net(x), LABELS)
    (grad,) = torch.autograd.grad(loss, net[1].weight)
    found = score(net, x, LABELS, ["gradnorm", "params"])
    assert found == pytest.approx({"gradnorm": grad.norm().item(), "params": 15})


@pytest.mark.parametrize("batch", [1, 2])
def test_smallest_images(batch):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Flatten(), nn.Linear(4, 2))
    x, y = torch.randn(batch, 3, 1, 1), torch.arange(batch)
    found = score(net, x, y)
    failed = {name for name, value in found.items() if not isinstance(value, float)}
    assert failed == ({"jacob_cov"} if batch == 1 else set())
    assert found["multiply-adds"] == 12 + 8


class Once(nn.Module):
    """Has no second derivative."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * grad

    def forward(self, x):
        return self.Function.apply(x)


def test_what_fails_is_there_with_its_reason(net, x):
    found = score(nn.Sequential(nn.Flatten()), x, LABELS)
    assert list(found) == list(PROXIES)
    assert found.pop("params") == found.pop("multiply-adds") == 0
    assert "the same for all pixels" in str(found.pop("jacob_cov"))
    for name, error in found.items():
        assert isinstance(error, GHNError)
        assert f"{name} of Sequential fails: ConfigError: it has no weights" in str(error)

    found = score(make_net(), x.float(), LABELS + 2)
    assert isinstance(found["params"], float) and isinstance(found["synflow"], float)
    assert "is out of bounds" in str(found["snip"])

    single = nn.Sequential(nn.AvgPool2d(6), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten())
    assert "more than 1 value" in str(score(single, x, LABELS)["synflow-bn"])
    once = nn.Sequential(nn.Conv2d(3, 4, 6), Once(), nn.Flatten())
    found = score(once, x, LABELS, ["grasp", "snip"])
    assert "RuntimeError" in str(found["grasp"]) and isinstance(found["snip"], float)
    assert "fails: RecursionError" in str(score(Wrapped(net, str).double(), x, LABELS)["plain"])


def test_bad_arguments(net, x):
    with pytest.raises(ConfigError, match="Unknown proxy 'zen'; choose from gradnorm, snip"):
        score(net, x, LABELS, ["snip", "zen"])
    for images, labels in ((x, LABELS[:3]), (x[0], LABELS[:3]), (x[:0], LABELS[:0])):
        with pytest.raises(ConfigError, match="batch of images"):
            score(net, images, labels)


def test_networks_of_deepnets():
    for net_args in split_net_args("test", 3):
        net = network_from_args(net_args, 10, (3, 8, 8), C=8, fc_dim=16)
        found = score(net, torch.randn(4, 3, 8, 8), torch.arange(4))
        wrong = {name for name, value in found.items() if not isinstance(value, float)}
        assert wrong <= {"synflow-bn"}  # where maps of 1 x 1 pixels are normalized
