"""Tables 6 to 8: how settings are chosen, and small runs of each through the frame."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from pyg_ghn.errors import ConfigError, GHNError, ImageDataError
from pyg_ghn.images import get_image_data
from pyg_ghn.training import FinetuneConfig

TINY = {"vit_mini": (1, 2, 16, 16), "vit_small": (2, 4, 32, 32)}


@pytest.fixture
def rows(tmp_path):
    """The rows in a file, by all of the key's values."""

    def read(name, *key):
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines[1:]]
        assert len({tuple(row[k] for k in key) for row in found}) == len(found)
        return {tuple(row[k] for k in key): row for row in found}

    return read


@pytest.fixture
def tiny(module, monkeypatch):
    """Transformers and ResNets that take no time."""
    training = module("tables.training")
    monkeypatch.setattr(training, "TRANSFORMERS", TINY)

    def build(name, data, side=None):
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=data.num_classes)

    monkeypatch.setattr(module("tables.table8"), "build", build)
    return training, build


def linear(scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with torch.no_grad():
        model[1].weight.mul_(scale)
    return model


def test_settings_are_chosen_by_held_out_images_alone(module):
    data = replace(get_image_data("digits"), test=None)  # nobody looks
    config = FinetuneConfig(steps=12, clip=None, evaluate_at=[1])
    configs = [replace(config, lr=lr) for lr in (1e-6, 0.05, 100.0)]
    models = [linear(100.0), linear(1.0)]
    before = copy.deepcopy([model.state_dict() for model in models])
    i, chosen, tried = module("tables.choosing").choose(models, configs, data)
    accuracy = {(row[0], row[1]): row[-1] for row in tried}
    assert (i, chosen.lr) == (1, 0.05) and chosen.evaluate_at == [1]
    assert accuracy[1, 0.05] == max(accuracy.values()) > 0.7 > 0.3 > accuracy[1, 1e-6]
    assert len(accuracy) == 6
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    one = module("tables.choosing").choose(models[:1], configs[1:2], data)
    assert one == (0, configs[1], [])


def test_few_labels_of_each_class_and_bodies_taken_over(module):
    few_labels = module("tables.transfer").few_labels
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 2)
    chosen = few_labels(labels, 20, 0)
    assert labels[chosen].bincount().tolist() == [9, 9, 2] and len(chosen.unique()) == 20
    assert labels[chosen[:3]].unique().tolist() == [0, 1, 2]  # what is held out has all, too
    assert torch.equal(chosen, few_labels(labels, 20, 0))
    assert not torch.equal(chosen, few_labels(labels, 20, 1))
    assert len(few_labels(labels, 82, 0).unique()) == 82
    with_body_of = module("tables.transfer").with_body_of
    source, model = (ResNet(BasicBlock, [1, 1, 1, 1], num_classes=n) for n in (10, 7))
    source.bn1.running_mean.fill_(3.0)
    fresh = copy.deepcopy(model.state_dict())
    for name, value in with_body_of(source, model, (3, 32, 32)).state_dict().items():
        expected = fresh if name.startswith("fc.") else source.state_dict()
        assert torch.equal(value, expected[name]), name


def test_table_6_and_its_figures_go_on_after_a_kill(module, options, tiny, rows, tmp_path):
    paper, names = module("paper"), ["table6", "figure6", "figure8"]
    given = {"models": ["vit_mini"], "quick": True, "lrs": [0.01, 0.001]}
    paper.make(names, options(**given))
    path, found = tmp_path / "training.jsonl", rows("training", "network", "start")
    assert [start for _, start in found] == [*module("tables.options").STARTS, "ghn3-digits"]
    for row in found.values():
        assert row["optimizer"] == "adamw" and row["lr"] in given["lrs"] and len(row["tried"]) == 2
        assert row["init_seconds"] > 0 and [p["step"] for p in row["curve"]] == [0, 1, 2]
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {"larger-vit_small.pt", "figure6.png", "figure8.png", "table6.tex"} <= written.keys()
    table = written["table6.md"].decode()
    assert "Weights are selected from vit_small, trained to" in table and "Failed" not in table
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
    paper.make(names, options(**given))
    again = rows("training", "network", "start")
    assert again.keys() == found.keys()
    for key, row in again.items():
        assert row["curve"] == found[key]["curve"], key
    with pytest.raises(ConfigError, match="rows of other settings"):
        paper.make(names, options(**given, steps=3))


def test_what_does_not_apply_is_a_row(module, options, rows, tmp_path):
    given = {"models": ["squeezenet1_1"], "starts": ["mimetic", "selection"], "quick": True}
    module("paper").make(["table6"], options(**given))
    found = rows("training", "start")
    assert "no self-attention layer" in found["mimetic",]["not_applicable"]
    assert "family of squeezenet1_1" in found["selection",]["not_applicable"]
    assert "mimetic: SqueezeNet has no self-attention" in (tmp_path / "table6.md").read_text()
    module("paper").make(["table8"], options(quick=True, models=["squeezenet1_1"]))
    no_resnets = rows("detection", "start", "pretrained").values()
    assert all("squeezenet1_1 is none" in row["error"] for row in no_resnets)
    assert "squeezenet1_1 is none" in (tmp_path / "table8.md").read_text()


def test_weights_are_selected_from_the_larger_network(module, options, tiny, rows, monkeypatch):
    training, _ = tiny
    selected = []

    def select(model, larger):
        selected.append((model, copy.deepcopy(larger.state_dict())))

    monkeypatch.setattr(training, "select_weights", select)
    made = options(models=["vit_mini"], quick=True, starts=["selection"])
    training.train(made, "vit_mini", 0, "selection")  # the file of the larger one is not there
    stored = torch.load(made.folder / "larger-vit_small.pt", weights_only=True)
    ((_, state),) = selected
    assert all(torch.equal(value, stored[name]) for name, value in state.items())


def test_a_run_that_diverged_stays_where_it_was(module):
    Results, curves = module("tables.rows").Results, module("tables.training").curves
    recipe = {"evaluate_at": [1, 5], "steps": 10}
    curve = [{"step": 0, "test": 0.1}, {"step": 1, "test": 0.2}]
    row = {"network": "a", "start": "b", "optimizer": "sgd", "curve": curve}
    results = Results({"sgd": recipe}, rows=[row, {"network": "a", "start": "c"}])
    ((runs,),) = [starts.values() for starts in curves(results).values()]
    assert [(p["step"], p["test"]) for p in runs[0]] == [(0, 0.1), (1, 0.2), (5, 0.2), (10, 0.2)]


def test_table_7_chooses_noise_and_goes_on(module, options, tiny, rows, monkeypatch, tmp_path):
    transfer = module("tables.transfer")
    monkeypatch.setattr(transfer, "WEIGHT_DECAYS", {"sgd": [0.0], "adamw": [0.0, 0.1]})
    given = {"models": ["vit_mini"], "target": "digits", "labels": 100, "num_images": 64}
    given |= {"steps": 1, "pretrain_steps": 2, "lrs": [0.01]}
    module("paper").make(["table7"], options(**given))
    found = rows("transfer", "start", "pretrained")
    starts = ("random", "orthogonal", "ghn3-digits")
    assert list(found) == [(start, after) for after in (False, True) for start in starts]
    for (start, pretrained), row in found.items():
        is_predicted = start == "ghn3-digits"
        assert len(row["tried"]) == (4 if is_predicted and not pretrained else 2)
        assert (row["noise"] in transfer.NOISES) == is_predicted
    table = (tmp_path / "table7.md").read_text()
    assert "2 steps" in table and "with 100 labels of digits" in table and "Failed" not in table
    path = tmp_path / "transfer.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    module("paper").make(["table7"], options(**given))
    again = rows("transfer", "start", "pretrained")
    assert {k: v["test"] for k, v in again.items()} == {k: v["test"] for k, v in found.items()}


def test_table_8_through_the_frame(module, options, tiny, rows, tmp_path, monkeypatch):
    _, build = tiny
    monkeypatch.setattr(module("tables.transfer"), "build", build)
    given = {"quick": True, "detection_size": 32, "num_images": 16}
    module("paper").make(["table8"], options(**given))
    found = rows("detection", "start", "pretrained")
    assert list(found) == [(s, after) for after in (False, True) for s in ("random", "ghn3-digits")]
    assert all(0 <= row["ap"] <= 1 and len(row["tried"]) == 1 for row in found.values())
    table = (tmp_path / "table8.md").read_text()
    assert "drawn digits" in table and "Failed" not in table and "scenes_test 5" in table


def test_a_detector_keeps_its_backbone_and_learns(module, options):
    table8 = module("tables.table8")
    scenes = table8.splits(None, 32, True)["train"][:4]
    body = ResNet(BasicBlock, [1, 1, 1, 1])
    given = {**table8.FIXED, "steps": 1, "detection_size": 32}
    before = body.layer3[0].conv1.weight.clone()
    model = table8.train(body, scenes, given, 1e-9, 0)
    assert torch.allclose(model.backbone.body.layer3[0].conv1.weight, before, atol=1e-6)
    assert not model.training and body.bn1.running_mean.abs().sum() > 0
    assert table8.train(body, scenes, {**given, "steps": 3, "clip": 1e30}, 1e20, 0) is None
    assert table8.evaluate(None, scenes) == 0.0
    image, boxes = table8.flipped(torch.arange(6).view(1, 1, 6), torch.tensor([[1.0, 0, 3, 1]]))
    assert image.flatten().tolist() == [5, 4, 3, 2, 1, 0] and boxes.tolist() == [[3, 0, 5, 1]]


@pytest.mark.parametrize(
    ("table", "given", "error", "message"),
    [
        ("training", {"evaluate_at": [101]}, ConfigError, "evaluate_at must be from 1 to 100"),
        ("training", {"lrs": [0.0]}, ConfigError, "lr must be more than 0"),
        ("transfer", {"target": "digits", "labels": 5000}, ConfigError, "from 20 to 1295, of dig"),
        ("transfer", {"target": "stars"}, ImageDataError, "Or choose another --target"),
        ("table8", {"detection_size": 8}, ConfigError, "must be 32 or more"),
        ("table8", {"detection_root": "nowhere"}, ImageDataError, "nowhere has no PNGImages"),
        ("training", {"starts": ["x"]}, ConfigError, "x is none of random, orthogonal, gradinit"),
    ],
)
def test_bad_input_before_anything_runs(module, options, table, given, error, message):
    with pytest.raises(error, match=message):
        module(f"tables.{table}").settings(options(**given))


def test_unknown_networks_are_no_rows(module, options):
    with pytest.raises(GHNError, match="no model 'nonsense'"):
        next(module("tables.transfer").jobs(options(models=["nonsense"])))
