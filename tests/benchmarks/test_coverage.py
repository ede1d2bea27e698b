"""The benchmark of coverage on a few models."""

import json
import runpy
import sys
from pathlib import Path

import pytest

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
    assert rows["vgg11"] | {"milliseconds": 0} == {
        "library": "torchvision",
        "family": "vgg",
        "model": "vgg11",
        "mode": "train",
        "pass": "meta",
        "nodes": 29,
        "edges": 28,
        "parameters": 22,
        "values": 132863336,
        "left": [],
        "missing": {},
        "milliseconds": 0,
    }
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
