import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import evaluation_networks
from pyg_ghn.images import get_image_data
from pyg_ghn.training import FinetuneConfig, compare, finetune, search
from pyg_ghn.training.finetuning import start_model


@pytest.fixture(scope="module")
def images():
    return get_image_data("digits")


def build(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "adamw", "lr": 0.01}, {"clip": None}, {"schedule": "step"}]
)
def test_training_helps(images, options):
    model = build()
    config = FinetuneConfig(**{"lr": 0.1, **options}, steps=40, evaluate_at=[10], shift=0.05)
    result = finetune(model, images, config)
    assert [point["step"] for point in result.curve] == [0, 10, 40]
    first, middle, last = result.curve
    assert result.test > 0.35 > first["test"] and last["test"] == result.test
    assert middle["loss"] > last["loss"] and first["loss"] is None
    assert first["train"] is None and last["train"] > middle["train"]
    test, labels = images.test.batch(torch.arange(len(images.test)))
    with torch.no_grad():  # in evaluation mode, with running statistics
        eval_mode = (model(test).argmax(1) == labels).float().mean()
    assert not model.training and abs(float(eval_mode) - result.test) < 0.05


def test_a_step_schedule_takes_tenths_after_each_third(images, monkeypatch):
    rates = []

    class Optimizer(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim, "SGD", Optimizer)
    finetune(build(), images, FinetuneConfig(steps=7, lr=0.5, schedule="step"))
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_same_seed_same_run_and_diverged_runs_end_with_what_they_have(images):
    config = FinetuneConfig(steps=5, rotation=10)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (finetune(copy.deepcopy(m), images, config) for m in [build()] * 2)
    assert first.curve == second.curve
    torch.manual_seed(3)
    finetune(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), images, config)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), before)
    other = finetune(build(), images, replace(config, seed=1))
    assert other.curve != first.curve
    config = FinetuneConfig(steps=20, lr=1e30, clip=None, evaluate_at=[5])
    result = finetune(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), images, config)
    assert result.curve[-1]["step"] == 5 and result.test <= 0.2


def test_search_keeps_the_best_and_the_start(images):
    model = build()
    before = copy.deepcopy(model.state_dict())
    best, trained, results = search(model, images, FinetuneConfig(steps=10), [1e-6, 0.1], [1.0])
    assert best.config.lr == 0.1 and len(results) == 2
    assert best.val == max(result.val for result in results)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not torch.equal(trained[0].weight, model[0].weight)
    with pytest.raises(ConfigError, match="at least one learning rate"):
        search(model, images, FinetuneConfig(), [])


def test_starts_are_compared_on_the_same_terms(images):
    config = FinetuneConfig(steps=2)
    (network,) = evaluation_networks("test", images, 1, channels=16, fc_dim=64)
    inits = ["random", "ghn3-digits"]
    rows = list(compare(network.build, inits, images, config, [0.02], [3]))
    assert [(row.init, row.seed) for row in rows] == [(init, 3) for init in inits]
    assert rows[0].result.config.clip in (1.0, None)
    assert rows[1].result.curve[0]["test"] > 0.5 > rows[0].result.curve[0]["test"]
    table = [rows[0].header(), *map(str, rows)]
    assert len({len(line) for line in table}) == 1 and "ghn3-digits" in table[2]


def test_the_best_of_a_prediction_is_chosen_by_validation_images(images):
    config = FinetuneConfig(steps=1, clip=None)
    (network,) = evaluation_networks("test", images, 1, channels=16, fc_dim=64)
    build, inits = network.build, ["ghn3-digits", "ghn3-digits:norms", "ghn3-digits:best"]
    whole, norms, best = compare(build, inits, images, config, [1e-4])
    assert whole.result.val > norms.result.val
    assert best.result.curve == whole.result.curve and best.init == "ghn3-digits:best"
    worse, better = start_model(build(), "random", images), best.model
    for models in ([worse, better], [better, worse]):
        chosen, _, results = search(models, images, config, [1e-9], [None])
        assert len(results) == 2 and chosen.val == max(r.val for r in results) > 0.5
    with pytest.raises(ConfigError, match="best is two starts"):
        start_model(build(), "ghn3-digits:best", images)


def test_orthogonal_and_mimetic_starts(images):
    model = start_model(build(), "orthogonal", images)
    matrix = model[0].weight.detach().flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8), atol=1e-5, rtol=0)
    model = nn.Sequential(nn.Flatten(2), nn.MultiheadAttention(64, 2))
    weight = start_model(model, "mimetic", images)[1].out_proj.weight.detach().clone()
    assert torch.equal(start_model(model, "mimetic", images)[1].out_proj.weight, weight)
    assert not torch.equal(start_model(model, "mimetic", images, 1)[1].out_proj.weight, weight)


@pytest.mark.parametrize("init", ["gradinit", "nio"])
def test_starts_that_learn_scales(images, init):
    before = build().state_dict()
    first, second, other = (
        start_model(build(), init, images, seed, iterations=3, lr=0.1).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(v, second[n]) for n, v in first.items())
    assert not torch.equal(first["0.weight"], other["0.weight"])
    ratio = first["6.weight"] / before["6.weight"]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))
    assert 0.02 < abs(ratio.mean() - 1) < 0.31


@pytest.mark.parametrize(
    "option, value",
    [
        *(("steps", 0), ("lr", 0), ("optimizer", "lion"), ("clip", 0.0), ("schedule", "")),
        *(("evaluate_at", "5"), ("evaluate_at", 5)),
    ],
)
def test_options_out_of_range(option, value):
    with pytest.raises(ConfigError, match=f"{option} must be"):
        FinetuneConfig(**{option: value})


def test_arguments_are_checked_before_the_first_run(images, monkeypatch):
    with pytest.raises(ConfigError, match=r"images must be .*get_image_data"):
        finetune(build(), "digits")
    with pytest.raises(ConfigError, match=r"must be a torch\.nn\.Module, got Linear"):
        finetune(nn.Linear, images)
    with pytest.raises(ConfigError, match="no parameters"):
        finetune(build().requires_grad_(False), images)
    monkeypatch.setattr("pyg_ghn.training.finetuning.finetune", lambda *args: pytest.fail("ran"))
    with pytest.raises(ConfigError, match="lr must be more than 0"):
        search(build(), images, FinetuneConfig(), [0.1, -1.0])
