import importlib
from pathlib import Path

import numpy as np
import pytest

from pyg_ghn.architectures import torchvision_model
from pyg_ghn.graph import from_module

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("split_statistics")


def test_resnet50_has_the_published_statistics(script):
    data = from_module(torchvision_model("resnet50", 10, (3, 32, 32)))
    ours = script.measure([(data, {"cifar10": 2_500_000})])
    assert [float(values[0]) for values in ours] == pytest.approx(
        [126, 2.238095238095238, 11.193269841269842, 2.5]
    )


def test_comparison(script):
    rng = np.random.default_rng(0)
    ours = script.Properties(*(rng.normal(mean, 2, 900) for mean in (50, 3, 10, 1)))
    published = {
        **{"n_loaded": 100, "nodes_min": 44, "nodes_max": 56, "nodes_mean": 50.0},
        **{"nodes_std": 3.0, "avg_degree": [2.0, 2.0], "avg_path": [10.2, 2.0]},
    }
    rows = script.compare(ours, published)
    assert rows["networks"] == [900, 100]
    error = (4 / 900 + 4 / 100 + 0.01 / 12) ** 0.5
    expected = (ours.degrees.mean() - 2) / error
    assert rows["degree mean"]["z"] == pytest.approx(expected, abs=0.05)
    assert abs(rows["nodes mean"]["z"]) < 2 and abs(rows["path mean"]["z"]) < 2.5
    assert rows["nodes std"]["z"] < -5  # 2 instead of 3, whose errors are 0.05 and 0.14
    assert rows["nodes std"]["error"] == pytest.approx(2 / 1800**0.5, rel=0.1)
    splits = {"splits": {"train": rows}, "evaluation_degrees": [2.3, 0.1, 2.0, 2.7]}
    assert "| train | nodes min | " in script.table(splits)
