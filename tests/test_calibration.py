"""Unlabelled images set running statistics and fold virtual norms."""

import copy
import gc
import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune
from torchvision.models import squeezenet1_1, vgg11

import pyg_ghn
from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.calibration import batch_statistics, predict_folded
from pyg_ghn.errors import ConfigError, GHNError, UnpredictedWarning
from pyg_ghn.images import get_image_data
from pyg_ghn.nn import GHN3


@pytest.fixture(scope="module")
def ghn():
    torch.manual_seed(0)
    return GHN3(16, 1, 4, (16, 16, 5, 5), num_classes=10).eval()


@pytest.fixture
def images():
    return torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def small(norm=True, bias=True):
    def block(channels, out):
        yield nn.Conv2d(channels, out, 3, padding=1, bias=bias)
        if norm:
            yield nn.BatchNorm2d(out)
        yield nn.ReLU()

    layers = (*block(3, 8), *block(8, 16), *block(16, 16))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


@torch.no_grad()
def test_evaluation_mode_computes_what_batch_statistics_do(images):
    model = small().train()
    modules = [m.training for m in model.modules()]
    with batch_statistics(model):
        expected = model(images)
    assert pyg_ghn.calibrate(model, images) is model
    assert [m.training for m in model.modules()] == modules
    torch.testing.assert_close(model.eval()(images), expected, rtol=1e-4, atol=1e-4)
    assert model[1].num_batches_tracked == 1


@torch.no_grad()
def test_a_norm_that_runs_twice_gets_the_mean_and_one_that_never_runs_keeps_its_own(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.unused = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.norm(x) + 1)

    model = pyg_ghn.calibrate(Twice(), images)
    assert torch.allclose(model.norm.running_mean, (images.mean((0, 2, 3)) + 1) / 2, atol=1e-5)
    assert torch.equal(model.unused.running_mean, torch.zeros(3))


def test_images_that_do_not_fit_change_nothing(ghn, images):
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(GHNError, match=r"forward pass of Sequential fails on images .*\(32, 1, 8"):
        pyg_ghn.calibrate(model, images[:, :1])
    with pytest.raises(GHNError, match=r"statistics of 1, 4, 7 are not finite"):
        pyg_ghn.calibrate(model, images / 0)
    with pytest.raises(GHNError, match=r"statistics of 1, 4, 7 are not finite"):
        pyg_ghn.initialize(model, ghn, images=images / 0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@torch.no_grad()
def test_folded_network_is_its_twin(ghn, images):
    """Exactly, where convolutions have biases: outputs of each are normalized on the images."""
    model = small(norm=False).eval()
    before = copy.deepcopy(model.state_dict())
    prediction = predict_folded(ghn, model, images)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "0, 2, 4" in prediction.report.notes[-1] and len(prediction.report) == 8

    twin = small(norm=True).eval()
    with torch.random.fork_rng():
        params = ghn.predict(twin, (3, 8, 8))
    with batch_statistics(twin):
        expected = functional_call(twin, dict(params), (images,))
    torch.testing.assert_close(
        functional_call(model, dict(prediction), (images,)), expected, rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_without_a_bias_the_shift_goes_where_inputs_are_constant(ghn, images):
    """Behind a ReLU most of it arrives: means are closer to those of the twin than without it."""
    model, images = small(norm=False, bias=False).eval(), images.relu()
    prediction = predict_folded(ghn, model, images)
    outputs = F.conv2d(images, prediction["0.weight"], padding=1)
    var, mean = torch.var_mean(outputs, (0, 2, 3))
    assert var.min() > 0.1 and var.max() < 10
    unfolded = F.conv2d(images, ghn.predict(small(True, False), (3, 8, 8))["0.weight"], padding=1)
    var, unfolded_mean = torch.var_mean(unfolded, (0, 2, 3))
    assert mean.abs().mean() < 0.3 * (unfolded_mean / var.sqrt()).abs().mean()


@torch.no_grad()
def test_norm_free_networks_classify_with_images():
    """Without them they are at chance."""
    ghn, digits = pyg_ghn.from_pretrained("ghn3-digits").eval(), get_image_data("digits")
    images, _ = digits.train.sample(256, torch.Generator().manual_seed(0))
    found = []
    for net_args in split_net_args("bnfree", 3):
        model = network_from_args(net_args, 10, digits.input_size, C=16, fc_dim=64).eval()
        pyg_ghn.initialize(model, ghn, images=images)
        test, labels = digits.test.batch(torch.arange(len(digits.test)))
        found.append((model(test).argmax(1) == labels).float().mean())
    assert min(found) > 0.5


@pytest.mark.parametrize("build", [vgg11, squeezenet1_1])
def test_torchvision_models_without_norm(ghn, build):
    model = build(num_classes=10).eval()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    prediction = predict_folded(ghn, model, images)
    note = prediction.report.notes[-1]
    convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert convs[0] in note and "classifier" not in note
    assert all(value.isfinite().all() for value in prediction.values())


def test_networks_with_norms_are_predicted_as_ever(ghn, images):
    model = small()
    expected, found = ghn.predict(model, (3, 8, 8)), predict_folded(ghn, model, images)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnpredictedWarning)  # statistics are no concern any more
        assert pyg_ghn.initialize(model, ghn, images=images) is model
    assert not torch.equal(model[1].running_mean, torch.zeros(8))
    with pytest.raises(ConfigError, match="leave out"):
        pyg_ghn.initialize(model, ghn, (3, 8, 8), images=images)


class Counting(nn.Module):
    """Counts its passes in a buffer."""

    def __init__(self):
        super().__init__()
        self.body = small()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.body(x + torch.randn(()) + random.random() + float(np.random.rand()))


def test_buffers_and_random_numbers_stay_as_they_are(ghn, images, monkeypatch):
    # Those of the test runner may run meanwhile.
    monkeypatch.setattr("pyg_ghn.graph.trace._other_threads", dict)

    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    model, before = Counting(), states()
    pyg_ghn.initialize(model, ghn, images=images, rescale=True)
    assert model.calls == 0 and states() == before


def pruned(net):
    prune.l1_unstructured(net[0], "weight", 0.5)  # its weight is no leaf
    return net


def locked(net):
    net.held = threading.Lock(), threading.local(), (i for i in "ab")  # which nobody can copy
    return net


def closed_over(net):
    norm = nn.BatchNorm2d(3)
    net.forward = lambda x: nn.Sequential.forward(net, norm(x))
    net.seen = norm.running_mean
    return net


def spectral(net):
    parametrizations.spectral_norm(net[0])  # which moves with each look at the weight
    return net


class Tied(nn.Sequential):
    def __init__(self, net):
        super().__init__(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), *net)
        self[2].weight = self[0].weight


WRAPPED = [pruned, locked, closed_over, spectral, nn.DataParallel, Tied]


@pytest.mark.parametrize("wrap", WRAPPED, ids=lambda wrap: wrap.__name__)
@pytest.mark.parametrize("norm", [True, False])
def test_models_are_only_read_whatever_they_hold(wrap, norm, ghn, images):
    model = wrap(small(norm))
    seen = getattr(model, "seen", torch.zeros(3))
    before = copy.deepcopy(model.state_dict())
    prediction = predict_folded(ghn, model, images)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    pyg_ghn.initialize(model, ghn, images=images, rescale=True)
    assert not seen.any() and prediction.keys() <= dict(model.named_parameters()).keys()
    assert model.eval()(images).isfinite().all()


@pytest.mark.parametrize(
    "wrong, kind",
    [(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "torch.uint8"), ((1, 2), "tuple"), ([], "list")],
)
def test_images_of_another_kind(wrong, kind, ghn):
    for call in (pyg_ghn.calibrate, lambda m, images: pyg_ghn.initialize(m, ghn, images=images)):
        with pytest.raises(ConfigError, match=f"one tensor of floats .*, got {kind}"):
            call(small(), wrong)


def test_networks_without_norms_need_images(ghn):
    with pytest.warns(UserWarning, match="no normalization layers.*Pass images"):
        pyg_ghn.initialize(small(norm=False), ghn, (3, 8, 8))


def test_prediction_is_the_same_within_autocast(ghn, images):
    model = small(norm=False)
    expected = predict_folded(ghn, model, images)
    with torch.autocast("cpu", torch.bfloat16):
        found = predict_folded(ghn, model, images)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Remembering(nn.Module):
    """Holds tensors that are neither parameters nor buffers, and makes constants."""

    def __init__(self):
        super().__init__()
        self.body, self.table, self.cache = small(norm=False), [torch.ones(3, 1, 1)], None

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.arange(8.0)
        return self.body(x * self.table[0] + self.cache)


def test_networks_that_hold_tensors_of_their_own(ghn, images):
    model = Remembering()
    model(images)
    pyg_ghn.initialize(model, ghn, images=images, rescale=True)
    assert model(images).isfinite().all()


def test_layers_of_several_inputs_another_default_device_and_no_copy_left_behind(ghn, images):
    class Scaled(nn.BatchNorm2d):
        def forward(self, x, scale):
            return super().forward(x) * scale

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 9, 3), Scaled(9)
            self.last, self.head = nn.Conv2d(9, 8, 3), nn.Linear(8, 10)

        def forward(self, x):
            return self.head(self.last(self.norm(self.conv(x), scale=2.0)).mean((2, 3)))

    def alive():
        kinds = (torch.Tensor, nn.Parameter)
        return sum(type(o) in kinds and o.shape == (9, 3, 3, 3) for o in gc.get_objects())

    model = Network()
    gc.collect()
    gc.disable()
    try:
        before = alive()
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UnpredictedWarning)
            pyg_ghn.initialize(model, ghn, images=images, rescale=True)
            pyg_ghn.calibrate(model, images)
        assert alive() == before
    finally:
        gc.enable()
    assert model.norm.num_batches_tracked == 1
    torch.testing.assert_close(model.norm.running_mean, model.conv(images).mean((0, 2, 3)))
    with pytest.raises(GHNError, match="norm are on the meta device"):
        pyg_ghn.calibrate(model.to("meta"), images)


def test_images_are_only_read_also_in_inference_mode(ghn):
    class InPlace(nn.Sequential):
        def forward(self, x):
            return super().forward(x.sub_(1))

    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model = InPlace(*layers, nn.Linear(8, 10))
    with torch.inference_mode():
        images = torch.randn(8, 3, 8, 8)
        before = images.clone()
        pyg_ghn.initialize(model, ghn, images=images, rescale=True)
    assert torch.equal(images, before)
    he = (2 / 27) ** 0.5
    assert model[0].weight.std().item() == pytest.approx(he, rel=1e-5)
