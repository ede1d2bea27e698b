import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models import SwinTransformer

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import (
    CheckpointError,
    ConfigError,
    GHNError,
    PredictionError,
    UnpredictedWarning,
)
from pyg_ghn.initialization import assign_parameters, initialize
from pyg_ghn.initializers import orthogonal


@pytest.fixture(scope="module")
def ghn():
    return from_pretrained(Path(__file__).parent / "golden" / "predictions" / "ghn3_tiny.pt")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 3.0))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head((self.norm(self.conv(x)) * self.scale).mean((2, 3)))


@contextmanager
def unchanged(model):
    before = {name: t.clone() for name, t in model.state_dict().items()}
    yield
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.fixture
def plain():
    """A network of which all parameters are predicted."""
    model = Network()
    del model.scale
    model.scale, model.norm = 1.0, nn.BatchNorm2d(8, track_running_stats=False)
    return model


def test_all_parameters_are_predicted_by_a_ghn_its_name_or_path(ghn, plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert initialize(plain, ghn, (3, 8, 8)) is plain
    expected = ghn.predict(plain, (3, 8, 8))
    params = dict(plain.named_parameters())
    assert params.keys() == expected.keys()
    assert all(torch.equal(params[name], expected[name]) for name in params)
    assert all(p.requires_grad and p.is_leaf for p in params.values())
    expected = from_pretrained("ghn3-digits").predict(plain, (3, 8, 8))
    initialize(plain, "ghn3-digits", (3, 8, 8))
    assert torch.equal(plain.head.weight, expected["head.weight"])
    initialize(plain, Path(__file__).parent / "golden" / "predictions" / "ghn3_tiny.pt", (3, 8, 8))
    assert torch.equal(plain.head.weight, ghn.predict(plain, (3, 8, 8))["head.weight"])
    with pytest.raises(CheckpointError, match="'ghn9' is no file"):
        initialize(plain, "ghn9", (3, 8, 8))


def test_unpredicted_parameters_and_statistics_keep_their_values(ghn, plain):
    model = Network()
    with pytest.warns(UnpredictedWarning, match=r"1 of the model's 7 para.*: scale \(") as caught:
        initialize(model, ghn, (3, 8, 8))
    assert len(caught) == 1 and caught[0].filename == __file__
    report = caught[0].message.report
    assert [p.name for p in report.left] == ["scale"] and len(report) == 7
    assert (model.scale == 3).all() and not (model.norm.weight == 1).any()
    plain.norm = nn.BatchNorm2d(8)
    for model, left in ((plain, ""), (Network(), "does not predict 1 .*")):
        message = f"{left}BatchNorm keeps its running statistics, which do not fit"
        with pytest.warns(UnpredictedWarning, match=message) as caught:
            initialize(model, ghn, (3, 8, 8))
        assert len(caught) == 1


def test_recipes_without_initialize(ghn):
    """Index tables are buffers, which have no values on the meta device."""

    def swin():
        sizes = {"patch_size": [2, 2], "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1]}
        return SwinTransformer(**sizes, window_size=[2, 2], num_classes=10).eval()

    x = torch.randn(2, 3, 16, 16)
    with torch.device("meta"):
        skeleton = swin()
    params = ghn.predict(skeleton, (3, 16, 16))
    real = swin()
    own = {name: p.clone() for name, p in real.named_parameters() if name not in params}
    missing = real.load_state_dict(params, strict=False, assign=True).missing_keys
    assert own.keys() < set(missing) and own
    assert all(p.requires_grad for p in real.parameters())
    other = swin()
    other.load_state_dict(own, strict=False)
    with pytest.warns(UnpredictedWarning):
        initialize(other, ghn, (3, 16, 16))
    assert torch.equal(real(x), other(x))
    state = {**other.state_dict(), **params}
    assert torch.equal(torch.func.functional_call(skeleton, state, x), other(x))


def test_what_cannot_be_written(ghn, plain):
    with torch.device("meta"):
        model = Network()
    with pytest.raises(GHNError, match=r"is on the meta device.*Build the model on a real device"):
        initialize(model, ghn, (3, 8, 8))
    model = nn.ParameterList([nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False)])
    with pytest.raises(GHNError, match=r"'0' is torch.int8 and can't hold torch.float32"):
        assign_parameters(model, {"0": torch.zeros(2)})
    plain.head.bias = nn.Parameter(torch.zeros(1).expand(10))
    with unchanged(plain), pytest.raises(GHNError, match=r"Can't write to 'head\.bias'"):
        initialize(plain, ghn, (3, 8, 8))


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("head.bias", 9, r"'head.bias' with shape \(9,\), but the model's has \(10,\)"),
        ("tail.bias", 9, "'tail.bias', which the model lacks"),
    ],
)
def test_all_or_nothing(ghn, plain, name, size, message):
    params = {**ghn.predict(plain, (3, 8, 8)), name: torch.zeros(size)}
    with unchanged(plain), pytest.raises(GHNError, match=message + ".*nothing was written"):
        assign_parameters(plain, params)
    params = ghn.predict(plain, (3, 8, 8))
    params["conv.weight"] *= 1e6
    params["head.bias"] *= 1e6
    message = r"conv.weight, head.bias are not finite in torch.float16; nothing was written"
    with unchanged(plain.half()), pytest.raises(PredictionError, match=message):
        assign_parameters(plain, params)


def test_arguments_in_the_wrong_order_and_a_class(ghn, plain):
    for wrong in (plain, type(ghn), None):
        with pytest.raises(ConfigError, match=r"must be a GHN, .*: call initialize\(model, ghn\)"):
            initialize(ghn, wrong)
    for images in (None, torch.zeros(2, 3, 8, 8)):
        with pytest.raises(ConfigError, match="got Network: call the class or function"):
            initialize(Network, ghn, images=images)


def test_warning_stays_short(ghn):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = nn.ParameterList(torch.ones(3, 1, 1) for _ in range(40))
            self.head = nn.Linear(3, 10)

        def forward(self, x):
            for scale in self.scales:
                x = x * scale
            return self.head(x.mean((2, 3)))

    match = r"40 of the model's 42 .*: scales\.\* \(40 parameters, 120 values\): \w+ "
    with pytest.warns(UnpredictedWarning, match=match):
        initialize(Scaled(), ghn, (3, 8, 8))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.to(memory_format=torch.channels_last),
        lambda model: model.requires_grad_(False),
        lambda model: model.bfloat16(),
        lambda model: model.double(),
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
    ],
    ids=["channels_last", "frozen", "bfloat16", "double", "data_parallel", "compiled"],
)
def test_kind_of_parameters_is_kept(ghn, plain, change):
    expected = ghn.predict(plain, (3, 8, 8))
    model = change(plain)
    before = {n: (p.dtype, p.stride(), p.requires_grad, p.data_ptr()) for n, p in
              model.named_parameters()}  # fmt: skip
    initialize(model, ghn, (3, 8, 8))
    for name, p in model.named_parameters():
        assert (p.dtype, p.stride(), p.requires_grad, p.data_ptr()) == before[name]
    for name, p in plain.named_parameters():
        assert torch.equal(p, expected[name].to(p.dtype))


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("initialized", [True, False])
def test_inference_mode(ghn, made, initialized):
    with torch.inference_mode(made):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with torch.inference_mode(initialized):
        initialize(model, ghn, (3, 8, 8))
    assert torch.equal(model[1].weight, ghn.predict(model, (3, 8, 8))["1.weight"])
    assert model[1].weight.requires_grad


def test_tied_and_parametrized_weights(ghn):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    expected = ghn.predict(model, (3, 8, 8))
    parametrizations.spectral_norm(model[1])
    parametrizations.weight_norm(model[2])
    initialize(model.eval(), ghn, (3, 8, 8))
    assert torch.allclose(model[2].weight, expected["2.weight"], atol=1e-6)
    sigma = torch.linalg.matrix_norm(expected["1.weight"], ord=2)
    assert torch.allclose(model[1].weight * sigma, expected["1.weight"], atol=1e-3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    model[2].weight = model[1].weight
    expected = ghn.predict(model, (3, 8, 8))["1.weight"]
    parametrizations.weight_norm(model[2])  # its direction goes on sharing the memory
    initialize(model, ghn, (3, 8, 8))
    for layer in model[1:]:
        assert torch.allclose(layer.weight, expected, atol=1e-6)


def test_several_inputs(ghn):
    model = nn.Bilinear(3, 4, 10)
    inputs = {"input1": torch.zeros(2, 3), "input2": torch.zeros(2, 4)}
    with pytest.warns(UnpredictedWarning) as caught:
        initialize(model, ghn, example_inputs=inputs)
    assert {p.name for p in caught[0].message.report} == {"weight", "bias"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel])
def test_model_on_another_device_than_the_ghn(ghn, plain, wrap):
    expected = ghn.predict(plain, (3, 8, 8))
    parametrizations.spectral_norm(plain.conv)
    initialize(wrap(plain.cuda()), ghn, (3, 8, 8))
    assert plain.head.weight.is_cuda
    assert torch.equal(plain.head.weight.cpu(), expected["head.weight"])
    sigma = torch.linalg.matrix_norm(expected["conv.weight"].flatten(1), ord=2)
    assert torch.allclose(
        plain.eval().conv.weight.cpu() * sigma, expected["conv.weight"], atol=1e-3
    )


@pytest.mark.parametrize("what", ["norms", "all"])
def test_orthogonal_weights_are_predicted_ones_or_the_models_own(ghn, plain, what):
    expected = {name: p.detach().clone() for name, p in plain.named_parameters()}
    predicted = ghn.predict(plain, (3, 8, 8))
    expected |= {name: predicted[name] for name in expected if what == "all" or "norm" in name}
    expected["conv.weight"] = orthogonal(expected["conv.weight"])
    initialize(plain, ghn, (3, 8, 8), what=what, orthogonal=True)
    for name, p in plain.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], msg=name)
