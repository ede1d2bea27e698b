import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

import pyg_ghn
from pyg_ghn.errors import GraphError, PredictionError
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3, Status
from pyg_ghn.nn.prediction import distinct_parameters, first_tile, non_finite
from pyg_ghn.nn.targets import collect_targets

SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def ghn():
    torch.manual_seed(1)
    return GHN3(16, 1, 4, (16, 8, 5, 5), num_classes=10)


class Network(nn.Module):
    """A parameter of every status."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.tiled = nn.Conv2d(16, 40, 3, padding=1)
        self.norm = nn.BatchNorm2d(40)
        self.large = nn.Conv2d(40, 8, 7, padding=3)
        self.position = nn.Parameter(torch.zeros(1, 66, 8))
        self.scale = nn.Parameter(torch.full((8,), 3.0))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.large(self.norm(self.tiled(self.first(x)))).flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True).expand(-1, 2, -1), x], 1) + self.position
        return self.head((x * self.scale).mean(1))


def chain(change=lambda module: module):
    return nn.Sequential(change(nn.Conv2d(3, 8, 3)), nn.Flatten(), change(nn.Linear(8 * 36, 10)))


class TestStatus:
    def test_every_status_and_notes(self, ghn):
        prediction = ghn.predict(Network(), SIZE)
        report = prediction.report
        assert [p.name for p in report] == [n for n, _ in Network().named_parameters()]
        assert {p.name for p in report.left} == {"scale"} == set(dict(
            Network().named_parameters())) - set(prediction)  # fmt: skip
        assert report["scale"].reason
        assert report["first.weight"].status == report["first.bias"].status == Status.PREDICTED
        assert report["head.weight"].status == report["head.bias"].status == Status.PREDICTED
        assert report["tiled.weight"].tiles == (3, 2) and report["tiled.bias"].tiles == (3, 1)
        assert report["norm.weight"].tiles == report["norm.bias"].tiles == (3, 1)
        large = report["large.weight"]
        assert large.interpolated == ((5, 5), (7, 7)) and large.tiles == (1, 5)
        assert large.status == Status.INTERPOLATED
        position = report["position"]
        assert position.status == Status.PARTLY_RANDOM and position.random_values == 2 * 8
        assert position.interpolated == ((5, 5), (8, 8))
        assert [note[:28] for note in ghn.predict(Network(), SIZE).report.notes] == [
            "BatchNorm keeps its running "
        ]
        (note,) = ghn.predict(nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), SIZE).report.notes
        assert "no last layer for the GHN's 10 classes" in note

    def test_it_is_what_the_values_are(self, ghn):
        model = Network()
        torch.manual_seed(1)
        params = ghn.predict(model, SIZE)
        weight = params["tiled.weight"]
        assert torch.equal(weight[16:32], weight[:16]) and torch.equal(weight[32:], weight[:8])
        assert torch.equal(weight[:, 8:], weight[:, :8])
        assert not torch.equal(weight[8:16], weight[:8])
        bias = params["tiled.bias"]
        assert torch.equal(bias[16:32], bias[:16]) and bias[:16].unique().numel() > 8
        torch.manual_seed(2)
        other = ghn.predict(model, SIZE)
        assert {n for n, p in other.items() if not torch.equal(p, params[n])} == {"position"}
        assert torch.equal(other["position"][:, 2:], params["position"][:, 2:])
        torch.manual_seed(1)
        assert torch.equal(ghn.predict(model, SIZE)["position"], params["position"])

    def test_the_first_tile_is_repeated(self, ghn):
        model = Network()
        data = from_module(model, SIZE)
        params = ghn.predict_graph(data)
        for target in collect_targets(data, 10)[0]:
            tile = first_tile(params[target.name], target, ghn.decoder.max_shape)
            assert tile.unique().equal(params[target.name].unique())
            cut = ("tiled.weight", "tiled.bias", "norm.weight", "norm.bias", "large.weight")
            assert (tile.numel() < params[target.name].numel()) == (target.name in cut)


class TestPrediction:
    def test_it_is_a_dictionary(self, ghn):
        mode = ghn.training
        prediction = ghn.predict(chain(), SIZE)
        assert not any(p.requires_grad for p in prediction.values()) and ghn.training is mode
        assert isinstance(prediction, dict) and len(prediction) == 4
        assert repr(prediction) == (
            "Prediction(4 tensors, report=PredictionReport(predicted=3, tiled=1))"
        )
        assert isinstance(prediction, pyg_ghn.Prediction)
        assert isinstance(prediction.report, pyg_ghn.PredictionReport)
        restored = pickle.loads(pickle.dumps(prediction))
        assert restored.keys() == prediction.keys() and len(restored.report) == 4
        logits = functional_call(chain(), prediction, torch.zeros(2, *SIZE))
        assert logits.shape == (2, 10)

    def test_several_inputs(self, ghn):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.image, self.numbers = nn.Conv2d(3, 8, 3), nn.Linear(5, 8)
                self.head = nn.Linear(8, 10)

            def forward(self, image, numbers):
                return self.head(self.image(image).mean((2, 3)) + self.numbers(numbers))

        inputs = {"image": torch.zeros(2, *SIZE), "numbers": torch.zeros(2, 5)}
        assert not ghn.predict(Two(), example_inputs=inputs).report.left
        assert not ghn.predict(Two(), example_inputs=tuple(inputs.values())).report.left
        with pytest.raises(GraphError, match="either input_size or example_inputs"):
            ghn.predict(Two(), SIZE, example_inputs=inputs)

    def test_not_finite(self, ghn):
        broken = copy.deepcopy(ghn)
        broken.decoder.kernel[0].weight.data[0, 0] = float("nan")
        message = r"not finite for 2 of 4 parameters, 0.weight, 2.weight: its own parameters "
        with pytest.raises(PredictionError, match=message + r"decoder\.kernel\.0\.weight are not"):
            broken.predict(chain(), SIZE)
        large = copy.deepcopy(ghn)
        large.decoder.kernel[0].weight.data *= 1e20
        large.decoder.kernel[2].weight.data *= 1e30
        with pytest.raises(PredictionError, match=r"though its own parameters are, in torch.float"):
            large.predict(chain(), SIZE)


class TestParameters:
    def test_tied_and_transposed(self, ghn):
        model = nn.Sequential(nn.Flatten(), *(nn.Linear(192, 192) for _ in range(3)))
        model[2].weight = model[1].weight
        model[3].weight = nn.Parameter(model[1].weight.detach())
        prediction = ghn.predict(model, SIZE)
        report = prediction.report
        assert [p.name for p in report] == ["1.weight", "1.bias", "2.bias", "3.bias"]
        assert report["2.weight"].tied == ("2.weight", "3.weight")
        assert set(prediction) == {n for n, _ in model.named_parameters()}
        assert prediction["3.weight"] is prediction["1.weight"]
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Linear(64, 192))
        model[2].weight = nn.Parameter(model[1].weight.detach().t())
        prediction = ghn.predict(model, SIZE)
        assert prediction.report["2.weight"].reason == "shares memory with 1.weight"
        assert "2.weight" not in prediction and "1.weight" in prediction

    def test_types_that_hold_no_predictions(self, ghn):
        class Quantized(nn.Module):
            def __init__(self):
                super().__init__()
                codes = torch.ones(10, 192, dtype=torch.int8)
                self.weight = nn.Parameter(codes, requires_grad=False)
                self.bias = nn.Parameter(torch.zeros(10))

            def forward(self, x):
                return nn.functional.linear(x.flatten(1), self.weight.to(x.dtype), self.bias)

        prediction = ghn.predict(Quantized(), SIZE)
        assert prediction.report["weight"].reason == "torch.int8 can't hold predicted values"
        assert set(prediction) == {"bias"}

    def test_left_parameter_that_is_not_finite_or_lazy(self, ghn):
        model = Network()
        model.scale.data[0] = float("nan")
        assert "its values are not finite" in ghn.predict(model, SIZE).report["scale"].detail
        with pytest.raises(GraphError, match="uninitialized lazy parameter"):
            ghn.predict(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), SIZE)


class TestWrappers:
    def test_data_parallel(self, ghn):
        model = Network()
        expected = ghn.predict(model, SIZE)
        prediction = ghn.predict(nn.DataParallel(model), SIZE)
        assert set(prediction) == {f"module.{name}" for name in expected}
        assert torch.equal(prediction["module.head.weight"], expected["head.weight"])
        assert [p.name for p in prediction.report.left] == ["module.scale"]

    @pytest.mark.parametrize("backend", ["inductor", "eager"])
    def test_compiled(self, ghn, backend):
        """Nothing is compiled: the whole takes milliseconds."""
        model = chain()
        expected = ghn.predict(model, SIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prediction = ghn.predict(torch.compile(model, backend=backend), SIZE)
        assert set(prediction) == {f"_orig_mod.{name}" for name in expected}
        model.compile(backend=backend)
        assert torch.equal(ghn.predict(model, SIZE)["0.weight"], expected["0.weight"])


class TestParametrized:
    @pytest.fixture
    def expected(self, ghn):
        return ghn.predict(chain(), SIZE)

    def weights(self, ghn, change, mode=True):
        """The weights of both layers with a prediction, and the prediction."""
        model = chain(change).train(mode)
        before = {name: t.clone() for name, t in model.state_dict().items()}
        prediction = ghn.predict(model, SIZE)
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
        model.load_state_dict({**prediction, **prediction.buffers}, strict=False)
        return [model[0].weight, model[2].weight], prediction

    def test_weight_norm(self, ghn, expected):
        weights, prediction = self.weights(ghn, parametrizations.weight_norm)
        for weight, name in zip(weights, ("0.weight", "2.weight"), strict=True):
            assert torch.allclose(weight, expected[name], atol=1e-6)
        assert not prediction.report.left and not prediction.buffers
        scale = prediction.report["0.parametrizations.weight.original0"]
        assert scale.status == Status.PREDICTED and scale.note == "0.weight is the prediction"

    @pytest.mark.parametrize("mode", [True, False])
    def test_spectral_norm(self, ghn, expected, mode):
        weights, prediction = self.weights(ghn, parametrizations.spectral_norm, mode)
        for weight, name in zip(weights, ("0.weight", "2.weight"), strict=True):
            sigma = torch.linalg.matrix_norm(expected[name].flatten(1), ord=2)
            assert torch.allclose(weight, expected[name] / sigma, rtol=1e-2)
        assert {name.rpartition(".")[2] for name in prediction.buffers} == {"_u", "_v"}
        note = prediction.report["2.parametrizations.weight.original"].note
        assert note == "2.weight is what its parametrization makes of the prediction"

    def test_orthogonal(self, ghn, expected):
        (_, weight), _ = self.weights(ghn, parametrizations.orthogonal)
        assert torch.allclose(weight @ weight.T, torch.eye(10), atol=1e-5)
        # Gram-Schmidt; it repeats after 8 outputs
        q, r = torch.linalg.qr(expected["2.weight"][:8].T)
        assert torch.allclose(weight[:8], (q * r.diagonal().sign()).T, atol=1e-3)

    def test_without_inverse(self, ghn):
        class Symmetric(nn.Module):
            def forward(self, x):
                return x.triu() + x.triu(1).mT

        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 10))
        expected = ghn.predict(model, SIZE)["1.weight"]
        parametrize.register_parametrization(model[1], "weight", Symmetric())
        prediction = ghn.predict(model, SIZE)
        name = "1.parametrizations.weight.original"
        assert torch.equal(prediction[name], expected)
        assert prediction.report[name].note == "1.weight is computed from it"

    def test_on_the_meta_device(self, ghn, expected):
        with torch.device("meta"):
            model = chain(parametrizations.weight_norm)
            within = ghn.predict(model, SIZE)
        prediction = ghn.predict(model, SIZE)
        assert all(torch.equal(within[name], value) for name, value in prediction.items())
        length = prediction["0.parametrizations.weight.original0"].flatten()
        assert torch.allclose(length, expected["0.weight"].flatten(1).norm(dim=1))

    @pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
    @pytest.mark.parametrize(
        ("change", "name", "left"),
        [
            (nn.utils.weight_norm, "weight_v", ["weight_g"]),
            (nn.utils.spectral_norm, "weight_orig", []),
            (lambda m: prune.l1_unstructured(m, "weight", 0.5), "weight_orig", []),
        ],
    )
    def test_hooks(self, ghn, change, name, left):
        report = ghn.predict(chain(change), SIZE).report
        assert report[f"0.{name}"].note == "0.weight is computed from it"
        assert [p.name for p in report.left] == [f"{i}.{n}" for i in (0, 2) for n in left]


def names_and_memory(model):
    return [(d.names, d.memory) for d in distinct_parameters(model)]


def test_parameters_that_share_memory_or_have_none():
    flat = torch.zeros(24)
    model = nn.ParameterList([nn.Parameter(flat[:12].view(3, 4)), nn.Parameter(flat[12:])])
    assert len({memory for _, memory in names_and_memory(model)}) == 2
    model.append(nn.Parameter(flat[10:14]))
    assert len({memory for _, memory in names_and_memory(model)}) == 1
    columns = flat.view(6, 4)
    model = nn.ParameterList([nn.Parameter(columns[:, :2]), nn.Parameter(columns[:, 2:])])
    assert len({memory for _, memory in names_and_memory(model)}) == 2
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model.append(nn.ParameterList([nn.Parameter(torch.empty(0, 2))]))
    found = names_and_memory(model)
    assert found[0][0] == ("0.weight", "1.weight") and len(found) == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_finite_is_found(value, dtype):
    broken = torch.zeros(3, 70, dtype=dtype)
    broken[1, 60] = value
    fine = torch.tensor([-torch.finfo(dtype).max, torch.finfo(dtype).max], dtype=dtype)
    pairs = [("a", fine), ("b", broken), ("c", broken.t()), ("d", fine[:0]), ("e", fine.long())]
    assert non_finite(pairs) == ["b", "c"]
    eight_bits = torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)
    assert non_finite([("a", eight_bits), ("b", eight_bits[:1])]) == ["a"]
    assert non_finite([]) == non_finite([("a", torch.empty(2, device="meta"))]) == []


def within_transform(transform):
    def run(predict):
        predictions = []
        transform(lambda x: predictions.append(predict()) or x.sum())(torch.zeros(3))
        return predictions[-1]

    return run


def within_mode(make):
    def run(predict):
        with make():
            return predict()

    return run


SURROUNDINGS = {
    "autocast": within_mode(lambda: torch.autocast("cpu")),
    "fake tensors": within_mode(lambda: FakeTensorMode(allow_non_fake_inputs=True)),
    "grad": within_transform(torch.func.grad),
    "vmap": within_transform(torch.vmap),
    "functionalize": within_transform(torch.func.functionalize),
}


@pytest.mark.parametrize("within", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_a_prediction_is_the_same_wherever_it_is_asked_for(ghn, within):
    model = Network()
    torch.manual_seed(0)
    expected = ghn.predict(model, SIZE)
    torch.manual_seed(0)
    found = within(lambda: ghn.predict(model, SIZE))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert {value.dtype for value in found.values()} == {torch.float32}
