"""The benchmarks of coverage, layers and the statistics of splits on a few small inputs."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from pyg_ghn.architectures import torchvision_model
from pyg_ghn.graph import from_module

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the script and reads what it wrote."""

    def script(*options):
        files = tmp_path / "coverage.json", tmp_path / "coverage.md"
        arguments = [*options, "--json", str(files[0]), "--table", str(files[1])]
        monkeypatch.setattr(sys, "argv", ["coverage.py", *arguments])
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        runpy.run_path(str(BENCHMARKS / "coverage.py"), run_name="__main__")
        return json.loads(files[0].read_text()), files[1].read_text()

    return script


def test_rows_and_tables(run, capsys):
    libraries = ("--library", "torchvision", "torch_geometric")
    result, table = run(*libraries, "--models", "vgg1?", "convnext_tiny", "GCN")
    rows = {row["model"]: row for row in result["rows"]}
    assert list(rows) == ["convnext_tiny", "vgg11", "GCN"]  # one of each family
    expected = {"library": "torchvision", "family": "vgg", "model": "vgg11", "mode": "train"}
    expected |= {"pass": "meta", "nodes": 29, "edges": 28, "parameters": 22, "values": 132863336}
    expected |= {"left": [], "missing": {}, "milliseconds": 0}
    assert rows["vgg11"] | {"milliseconds": 0} == expected
    assert {"torch", "torchvision", "torch_geometric"} < result["versions"].keys()
    assert "| vgg | vgg11 | 29 | 22/22, 100.00 % |  |" in table
    assert "18 `layer_scale`: used by no supported operation (mul)" in table
    assert (
        "3 of 3 models (3 families) became graphs, 3 of them complete." in capsys.readouterr().out
    )


def test_failures_are_listed_with_their_error(run):
    options = ("--all", "--library", "torchvision", "--models", "vgg11*", "--timeout", "0.001")
    result, table = run(*options)
    assert [row["error"] for row in result["rows"]] == ["OutOfTime: took more than 0.001 s"] * 2
    assert "0 of 2 models (0 families) became graphs" in table
    assert "- vgg11_bn (build): OutOfTime: took more than 0.001 s" in table


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_same_values_as_padded_and_a_report(module, spread, monkeypatch):
    layers = module("layers")
    monkeypatch.setattr(layers, "SECONDS", 0)
    cases = [(nodes, graphs) for nodes in (4, 8) for graphs in (2, 5)]
    rows = []
    for nodes, graphs in cases:
        row = {"nodes": nodes, "graphs": graphs, "sizes": "some"}
        rows.append(row | layers.measure(layers.make_batch(nodes, graphs, spread), repeats=1))
        assert rows[-1]["apart"] < 1e-10
        assert 4 * 64 * nodes * graphs < 1e6 * rows[-1]["ours MB"] < 1e7
    settings = layers.measuring.environment(note="A note", repeats=1)
    result = {"environment": settings, "rows": rows, "targets": layers.targets(rows)}
    text = layers.report(result | {"growth": layers.growth(rows)})
    assert "A note." in text and "| padded / ours, mean" in text and "| GPSConv MB" in text


@pytest.fixture
def script(module):
    return module("split_statistics")


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
