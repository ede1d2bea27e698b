import json

import pytest

from pyg_ghn.evaluation import GeneralizationResult, NetworkResult


def network(split, name, accuracy, random, families=(), non_finite=0.0):
    rest = {"num_params": 100, "predicted_share": 0.9, "accuracy_top5": 1.0, "random_top5": 0.5}
    found = {"accuracy": accuracy, "calibrated": accuracy + 0.2, "random": random}
    found |= {"non_finite": non_finite, "seconds": 0.1}
    return NetworkResult(split, name, families, **found, **rest)


@pytest.fixture
def result():
    networks = [
        network("val", "0", 0.50, 0.10, ("batch norm",)),
        network("val", "1", 0.70, 0.14, ("batch norm", "attention")),
        network("torchvision", "resnet18", 0.0, 0.08, ("no norm",), non_finite=1.0),
    ]
    config = {"hidden_channels": 64, "max_shape": (64, 64, 16, 16)}
    images = {"images": "digits", "image_split": "test", "num_images": 359, "num_classes": 10}
    run = {"settings": {"seed": 0}, "versions": {"torch": "2"}, "date": "2026-01-01T00:00:00+00:00"}
    return GeneralizationResult(networks, "GHN3", config, **images, **run)


TABLE = """\
GHN3 on digits: top-1 accuracy in % on 359 test images, networks not trained

split        networks  GHN mean ± std  best   calibrated  best     RandInit  best  chance
val                 2     60.0 ± 10.0  70.0  80.0 ± 10.0  90.0  12.0 ±  2.0  14.0    10.0
torchvision         1      0.0 ±  0.0   0.0  20.0 ±  0.0  20.0   8.0 ±  0.0   8.0    10.0

family      networks  GHN mean ± std  best   calibrated  best     RandInit  best  chance
batch norm         2     60.0 ± 10.0  70.0  80.0 ± 10.0  90.0  12.0 ±  2.0  14.0    10.0
no norm            1      0.0 ±  0.0   0.0  20.0 ±  0.0  20.0   8.0 ±  0.0   8.0    10.0
attention          1     70.0 ±  0.0  70.0  90.0 ±  0.0  90.0  14.0 ±  0.0  14.0    10.0

Not finite: torchvision/resnet18
"""


def test_table_and_summary(result):
    assert result.table() == TABLE
    ghn = {"ghn_mean": 0.6, "ghn_std": 0.1, "ghn_best": 0.7}
    ghn |= {"calibrated_mean": 0.8, "calibrated_std": 0.1, "calibrated_best": 0.9}
    random = {"random_mean": 0.12, "random_std": 0.02, "random_best": 0.14}
    found = result.summary()["splits"]["val"]
    assert found == pytest.approx({"networks": 2, **ghn, **random})


def test_save_writes_both_files(result, tmp_path):
    folder = tmp_path / "new" / "results"
    result.save(folder)
    assert {path.name for path in folder.iterdir()} == {"results.json", "table.txt"}
    assert (folder / "table.txt").read_text(encoding="utf-8") == TABLE
    stored = json.loads((folder / "results.json").read_text())
    assert stored["summary"]["splits"]["val"]["ghn_best"] == 0.7
    assert stored["networks"][2]["name"] == "resnet18"
    assert stored["non_finite"] == ["torchvision/resnet18"]
    assert stored["chance"] == 0.1
    result.save(folder)  # over the old ones
    loaded = GeneralizationResult.load(folder)
    assert loaded.networks == result.networks and loaded.table() == TABLE
    assert loaded.settings == result.settings and loaded.versions == result.versions
