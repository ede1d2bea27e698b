import math

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import ArchitectureError, ConfigError
from pyg_ghn.evaluation import evaluate_ghn, generalization
from pyg_ghn.images import get_image_data

SMALL = {"channels": 8, "fc_dim": 16, "progress": False}


@pytest.fixture(autouse=True)
def _two_torchvision_networks(monkeypatch):
    names = ("squeezenet1_1", "mobilenet_v3_small")
    monkeypatch.setattr(generalization, "TORCHVISION_NETWORKS", names)


def test_calibration_helps_what_nothing_normalizes():
    ghn, digits = from_pretrained("ghn3-digits"), get_image_data("digits")
    options = {"channels": 16, "fc_dim": 16, "progress": False}
    result = evaluate_ghn(ghn, digits, ["test", "bnfree"], num_networks=1, **options)
    normalized, bare = result.networks
    assert normalized.calibrated == normalized.accuracy > 0.5
    assert bare.calibrated > bare.accuracy + 0.2


def test_results_of_every_split(fake_ghn, images):
    ghn = fake_ghn(0.01).train()
    splits = ("val", "test", "wide", "deep", "dense", "bnfree", "torchvision")
    result = evaluate_ghn(ghn, images, num_networks=1, **SMALL)
    assert tuple(result.by_split()) == splits
    assert [net.name for net in result.networks] == ["0"] * 6 + ["squeezenet1_1"]
    assert len(ghn.seen) == 7 and ghn.training  # as it was
    assert (result.images, result.image_split, result.num_images) == ("noise", "test", 30)
    assert result.chance == pytest.approx(1 / 3)
    assert result.config == ghn.config
    assert result.settings["channels"] == 8 and result.settings["seed"] == 0
    assert {"torch", "torchvision", "torch_geometric", "pyg_ghn", "python"} <= set(result.versions)
    for net in result.networks:
        assert 0 <= net.accuracy <= 1 and 0 <= net.random <= 1
        assert 0.5 < net.predicted_share <= 1
        assert net.non_finite == 0 and net.seconds > 0


def test_constant_missing_and_non_finite_predictions(fake_ghn, images):
    result = evaluate_ghn(fake_ghn(0.0), images, ["val"], 2, image_split="val", **SMALL)
    assert [net.accuracy for net in result.networks] == pytest.approx([1 / 3] * 2)
    assert result.num_images == 9 and result.image_split == "val"
    result = evaluate_ghn(fake_ghn(), images, ["val", "torchvision"], num_networks=2, **SMALL)
    assert len(result.networks) == 4
    for net in result.networks:
        assert net.predicted_share == 0
        assert net.accuracy == net.random and net.accuracy_top5 == net.random_top5
    assert len({net.random for net in result.networks}) > 1
    result = evaluate_ghn(fake_ghn(math.nan), images, ["torchvision"], num_networks=1, **SMALL)
    assert [(net.accuracy, net.non_finite) for net in result.networks] == [(0, 1)]
    assert result.networks[0].random > 0
    assert result.non_finite == ["torchvision/squeezenet1_1"]
    assert "Not finite: torchvision/squeezenet1_1" in result.table()


def test_each_network_has_a_seed_of_its_own(fake_ghn, images):
    def random(splits, **options):
        result = evaluate_ghn(fake_ghn(), images, splits, num_networks=2, **SMALL, **options)
        return {(net.split, net.name): net.random for net in result.networks}

    torch.manual_seed(1)
    both = random(["torchvision", "val"])
    torch.manual_seed(2)
    state = torch.get_rng_state()
    alone = random(["val"])
    assert torch.equal(torch.get_rng_state(), state)
    assert alone == {key: value for key, value in both.items() if key[0] == "val"}
    assert random(["val"], seed=1) != alone


def test_families(fake_ghn, images):
    result = evaluate_ghn(fake_ghn(), images, ["torchvision"], **SMALL)
    squeezenet, mobilenet = result.networks
    assert squeezenet.families == ("no norm",)
    assert mobilenet.families == ("batch norm", "squeeze-excitation")
    sizes = {name: len(nets) for name, nets in result.by_family().items()}
    assert sizes == {"batch norm": 1, "no norm": 1, "squeeze-excitation": 1}


def test_bad_arguments_and_errors_that_restore_the_mode(fake_ghn, images, monkeypatch):
    with pytest.raises(ArchitectureError, match="Unknown split 'tset'; choose from train, val"):
        evaluate_ghn(fake_ghn(), images, ["val", "tset"])
    with pytest.raises(ArchitectureError, match="num_networks must be 1 or more, got 0"):
        evaluate_ghn(fake_ghn(), images, ["val"], num_networks=0)
    with pytest.raises(ConfigError, match="nothing to evaluate: give at least one split"):
        evaluate_ghn(fake_ghn(), images, [])
    with pytest.raises(ConfigError, match="'tset' to evaluate on; choose from test, val"):
        evaluate_ghn(fake_ghn(), images, image_split="tset")
    ghn = fake_ghn().train()
    monkeypatch.setattr(ghn, "predict_graph", None)
    with pytest.raises(TypeError):
        evaluate_ghn(ghn, images, ["val"], 1, **SMALL)
    assert ghn.training
