import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import GHNError, UnpredictedWarning
from pyg_ghn.initialization import initialize


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


@pytest.fixture
def plain():
    """A network of which all parameters are predicted."""

    class Plain(Network):
        def __init__(self):
            super().__init__()
            del self.scale
            self.scale = 1.0

    return Plain()


def test_all_parameters_are_predicted(ghn, plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert initialize(plain, ghn, (3, 8, 8)) is plain
    expected = ghn.predict(plain, (3, 8, 8))
    params = dict(plain.named_parameters())
    assert params.keys() == expected.keys()
    assert all(torch.equal(params[name], expected[name]) for name in params)
    assert all(p.requires_grad and p.is_leaf for p in params.values())


def test_unpredicted_parameters_keep_their_values(ghn):
    model = Network()
    with pytest.warns(UnpredictedWarning, match="1 of the model's parameters.*: scale$") as caught:
        initialize(model, ghn, (3, 8, 8))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert (model.scale == 3).all() and not (model.norm.weight == 1).any()


def test_type_of_the_parameters_is_kept(ghn, plain):
    initialize(plain.double(), ghn, (3, 8, 8))
    expected = ghn.predict(plain, (3, 8, 8))
    for name, param in plain.named_parameters():
        assert param.dtype == torch.float64
        assert torch.equal(param, expected[name].double())


def test_model_on_the_meta_device(ghn):
    with torch.device("meta"):
        model = Network()
    with pytest.raises(GHNError, match=r"is on the meta device.*to_empty"):
        initialize(model, ghn, (3, 8, 8))


@pytest.mark.parametrize(
    "name, value, message",
    [
        (
            "head.bias",
            torch.zeros(9),
            r"'head.bias' with shape \(9,\), but the model's has \(10,\)",
        ),
        ("tail.bias", torch.zeros(9), "'tail.bias', which the model lacks"),
    ],
)
def test_all_or_nothing(ghn, plain, monkeypatch, name, value, message):
    params = {**ghn.predict(plain, (3, 8, 8)), name: value}
    monkeypatch.setattr(ghn, "predict", lambda model, input_size: params)
    before = {name: p.clone() for name, p in plain.named_parameters()}
    with pytest.raises(GHNError, match=message + ".*nothing was written"):
        initialize(plain, ghn, (3, 8, 8))
    assert all(torch.equal(p, before[name]) for name, p in plain.named_parameters())
