import json

import pytest
import torch


@pytest.fixture
def script(example):
    return example("deepnets_regression")


def test_prints_a_table(script, tmp_path, capsys):
    cache = tmp_path / "accuracies.json"
    cache.write_text(json.dumps([0.9, 0.8, 0.95, 0.85, 0.1, 0.92, 0.88]))
    script.main(["--networks=8", "--epochs=1", "--seeds=2", f"--cache={cache}"])
    *_, head, median, gin, gps, ghn3 = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["model", "parameters"]
    assert [line.split()[0] for line in (median, gin, gps, ghn3)] == ["median", *script.MODELS]
    found = json.loads(cache.read_text())
    assert len(found) == 8 and 0 <= found[7] <= 1  # the one that was missing


def test_models_are_of_about_equal_size(script):
    sizes = [sum(p.numel() for p in make().parameters()) for make in script.MODELS.values()]
    assert max(sizes) < 1.1 * min(sizes)


def test_rank_correlation(script):
    a = torch.tensor([0.1, 5.0, 2.0, 3.0])
    assert script.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert script.rank_correlation(a, -a) == pytest.approx(-1)
