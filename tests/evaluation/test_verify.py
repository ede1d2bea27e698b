import json

import pytest
import torch

from pyg_ghn import from_pretrained
from pyg_ghn.cli import main
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import published_norms, verify
from pyg_ghn.nn import GHN2, GHN3

MODELS = ["squeezenet1_1", "shufflenet_v2_x0_5"]


@pytest.fixture(scope="module")
def ghn():
    return from_pretrained("ghn3-digits")


def test_norm_is_that_of_all_parameters_and_marks_own_initialization(ghn):
    from torchvision import models

    network = models.squeezenet1_1(num_classes=10)
    prediction = ghn.predict(network, (3, 224, 224))
    expected = torch.stack([prediction[n].norm() for n, _ in network.named_parameters()]).norm()
    (check,) = verify(ghn, ["squeezenet1_1"], {})
    assert check.norm == pytest.approx(expected.item(), abs=1e-4)
    assert check.expected is None and check.agrees and check.num_random == 0
    first, other = (next(verify(ghn, ["swin_t"], {}, seed=seed)) for seed in (0, 1))
    assert first.num_random == 23_322 and "23,322 values stay random" in str(first)
    assert 0 < abs(first.norm - other.norm) < first.tolerance - 0.01 < 0.01
    assert next(verify(ghn, ["swin_t"], {})).norm == first.norm


@pytest.mark.parametrize(
    ("difference", "agrees"), [(0.009, True), (-0.011, False), (float("nan"), False)]
)
def test_tolerance(ghn, difference, agrees):
    norm = next(verify(ghn, MODELS[:1], {})).norm
    (check,) = verify(ghn, None, {MODELS[0]: norm + difference})
    assert check.agrees is agrees


def test_published_norms():
    with torch.device("meta"):
        ghns = [GHN2.from_config("ghn2"), GHN3.from_config("ghn3-t"), GHN3.from_config("ghn3-xl")]
        others = [GHN3.from_config("ghn3-l"), GHN3.from_config("ghn3-t", num_classes=10)]
    assert [published_norms(ghn)["resnet50"] for ghn in ghns] == [286.4883, 78.6197, 108.453]
    assert {len(published_norms(ghn)) for ghn in ghns} == {74}
    for ghn in others:
        with pytest.raises(ConfigError, match="No norms are published for this GHN3"):
            published_norms(ghn)


def test_command(tmp_path, capsys):
    path = tmp_path / "norms.json"
    main(["verify", "ghn3-digits", "--models", *MODELS, "--write", str(path)])
    norms = json.loads(path.read_text())
    assert [*norms] == MODELS
    main(["verify", "ghn3-digits", "--norms", str(path)])
    assert capsys.readouterr().out.endswith("2 of 2 norms agree.\n")
    path.write_text(json.dumps(norms | {MODELS[1]: 3.0}))
    with pytest.raises(SystemExit) as error:
        main(["verify", "ghn3-digits", "--norms", str(path)])
    assert error.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("agrees") and lines[2].endswith("DIFFERS")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "No norms are published for this GHN3"),
        (["--norms", "missing.json"], "Can't read norms from missing.json"),
        (["--norms", "list.json"], "list.json is no JSON object with a norm"),
        (["--norms", "norms.json", "--models", "vgg11"], "No norm is known for vgg11"),
        (["--norms", "norms.json", "--write", "x.json"], "give one of them"),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "norms.json").write_text('{"resnet18": 1}')
    with pytest.raises(SystemExit, match=message):
        main(["verify", "ghn3-digits", *options])
