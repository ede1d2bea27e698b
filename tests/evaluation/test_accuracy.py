import pytest
import torch
from torch import nn

from pyg_ghn.evaluation import accuracy, batch_statistics
from pyg_ghn.images import ImageSplit


def make_split(labels, pixels=None):
    labels = torch.as_tensor(labels)
    pixels = torch.arange(len(labels)) if pixels is None else torch.as_tensor(pixels)
    images = pixels.to(torch.uint8)[:, None, None, None].repeat(1, 3, 2, 2)
    return ImageSplit(images, labels, torch.zeros(3), torch.full((3,), 1 / 255))  # pixels as stored


class Lookup(nn.Module):
    """Logits are the row of a table that the image's pixels name."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, x):
        return self.table[x[:, 0, 0, 0].round().long()]


def test_top1_and_top5():
    scores = torch.arange(8.0).flip(0)  # class 0 is the likeliest, class 4 the fifth
    model = Lookup(scores.repeat(6, 1))
    found = accuracy(model, None, make_split([0, 0, 1, 4, 5, 7]), batch_size=4)
    assert found == pytest.approx({"top1": 2 / 6, "top5": 4 / 6, "non_finite": 0})
    few = Lookup(torch.tensor([[1.0, 0.0, -1.0]]).repeat(4, 1))
    assert accuracy(few, None, make_split([0, 1, 2, 0]))["top5"] == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_logits_are_wrong(bad):
    table = torch.eye(4) * 5
    table[1, 1] = bad
    table[2, 3] = bad
    found = accuracy(Lookup(table), None, make_split([0, 1, 2, 3]))
    assert found == pytest.approx({"top1": 0.5, "top5": 0.5, "non_finite": 0.5})


def test_params_stand_in_and_missing_ones_are_the_models_own():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([0.0, 0.0, 1.0])
    split = make_split([0, 1, 2, 2])
    assert accuracy(model, None, split)["top1"] == 0.5
    assert accuracy(model, {"1.bias": torch.tensor([1.0, 0.0, 0.0])}, split)["top1"] == 0.25
    assert accuracy(model, {"1.weight": torch.ones(3, 12)}, split)["top1"] == 0.5
    assert model[1].bias.tolist() == [0, 0, 1]
    assert model[1].weight.grad is None
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    params = {name: torch.ones(param.shape) for name, param in model.named_parameters()}
    params["3.bias"] = torch.tensor([0.0, 1.0, 0.0])
    assert accuracy(model, params, make_split([0, 1, 1, 1]))["top1"] == 0.75


class Recorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.batches = []

    def forward(self, x):
        self.batches.append(x[:, 0, 0, 0].round().long().tolist())
        return self.weight.expand(len(x), 3)


def test_order_is_mixed_and_always_the_same():
    split = make_split(torch.arange(60) // 20)  # sorted by class
    first, second = Recorder(), Recorder()
    accuracy(first, None, split, batch_size=20)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    accuracy(second, None, split, batch_size=20)
    assert first.batches == second.batches
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(pixel for batch in first.batches for pixel in batch) == list(range(60))
    assert all(len({pixel // 20 for pixel in batch}) == 3 for batch in first.batches)


def make_model():
    norm = nn.BatchNorm1d(16, track_running_stats=False)
    head = (nn.Dropout(0.9), nn.Flatten(), norm, nn.Linear(16, 3))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), *head)
    model[1].running_mean.fill_(5)
    model[0].eval()  # modules need not be in one mode
    return model


def describe(model):
    modules = [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()]
    return modules, {key: value.tolist() for key, value in model.state_dict().items()}


def test_batch_statistics_and_accuracy_leave_the_model_as_it_was():
    model = make_model()
    before = describe(model)
    x = torch.randn(6, 3, 2, 2)
    with torch.no_grad(), batch_statistics(model) as same:
        assert same is model
        out, again = model(x), model(x)
        hidden = model[1](model[0](x))
    assert torch.equal(out, again)  # no dropout
    torch.testing.assert_close(hidden.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert describe(model) == before
    with pytest.raises(KeyError), batch_statistics(model):
        model(torch.randn(6, 3, 2, 2))
        raise KeyError
    assert describe(model) == before
    accuracy(model, {"5.bias": torch.zeros(3)}, make_split([0, 1, 2]), batch_size=2)
    assert describe(model) == before
