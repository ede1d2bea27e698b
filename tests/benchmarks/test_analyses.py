"""Tables 9 and 13, figures 2 and 9 and the prediction of properties."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyg_ghn import from_pretrained
from pyg_ghn.architectures import torchvision_model
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import diversity

pytestmark = pytest.mark.filterwarnings("ignore::pyg_ghn.errors.UnpredictedWarning")

SMALL = "mobilenet_v3_small"  # the first network of torchvision


def test_diversity_of_random_predicted_and_trained(module, collect, options, tmp_path):
    table9, given = module("tables.table9"), {"num_networks": 1, "trained_steps": 1}
    chosen = table9.chosen(options(**given))
    assert list(chosen) == [SMALL] and len(chosen[SMALL]) == 3
    assert all(shape[0] != 10 and len(shape) > 1 for shape in chosen[SMALL])
    trained, found = (collect(rows, options(**given)) for rows in table9.ROWS)
    assert trained.failed == found.failed == []
    assert trained.rows[0]["network"] == SMALL and "seconds" in trained.rows[0]
    rows = {row["start"]: row for row in found.rows}
    assert list(rows) == ["random", "ghn3-digits", "trained"]
    torch.manual_seed(0)
    model = torchvision_model(SMALL, 10, (3, 8, 8))
    predicted = from_pretrained("ghn3-digits").predict(model, (3, 8, 8))
    for shape, value in diversity([predicted], chosen[SMALL]).items():
        name = "x".join(map(str, shape))
        assert rows["ghn3-digits"]["distances"][name] == pytest.approx([*value], rel=1e-4)
        assert rows["random"]["distances"][name][0] > 0.9
        assert rows["random"]["matched"][name][0] < rows["random"]["distances"][name][0]
    (table,) = table9.report(trained, found)
    assert [row[0] for row in table.rows] == [
        "tensors",
        *("random", "random, matched", "ghn3-digits", "trained", "trained, matched"),
    ]
    assert "Trained: 1 steps of adamw" in table.notes[0]

    # The folder that it kept serves another run, whose rows tell a network that lacks in it.
    given = {**given, "trained": str(tmp_path / "trained"), "out": str(tmp_path / "other")}
    (again,) = collect(table9.ROWS[0], options(**given)).rows
    assert again == {"network": SMALL, "accuracy": trained.rows[0]["accuracy"]}
    with pytest.raises(ConfigError, match="--trained: there is no folder"):
        collect(table9.ROWS[0], options(trained="nowhere"))
    state = load_file(tmp_path / "trained" / f"{SMALL}.safetensors")
    del state["features.0.0.weight"]
    save_file(state, tmp_path / "trained" / f"{SMALL}.safetensors")
    given["out"] = str(tmp_path / "third")
    (failed,) = collect(table9.ROWS[0], options(**given)).failed
    assert "lacks features.0.0.weight of mobilenet_v3_small" in failed["error"]
    (tmp_path / "trained" / f"{SMALL}.safetensors").unlink()
    (failed,) = collect(table9.ROWS[0], options(**given, retry=True)).failed
    assert f"has no {SMALL}.safetensors" in failed["error"]
    found = collect(table9.ROWS[1], options(**given))
    assert [row["start"] for row in found.rows] == ["random", "ghn3-digits", "trained"]
    (table,) = table9.report(trained, found)
    assert f"trained is without {SMALL}: ConfigError" in table.notes[1]
    assert [row[0] for row in table.rows][-1] == "ghn3-digits"


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_trained_parameters_of_a_folder(module, options, tmp_path, suffix):
    state = torchvision_model("mnasnet0_5", 10, (3, 8, 8)).state_dict()
    save = save_file if suffix == "safetensors" else torch.save
    save(state, tmp_path / f"mnasnet0_5.{suffix}")
    given = options(trained=str(tmp_path))
    model = module("tables.trained").network(given, "mnasnet0_5", "trained")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.save(torchvision_model(SMALL, 7).state_dict(), tmp_path / f"{SMALL}.pt")
    with pytest.raises(ConfigError, match=r"v3_small.pt does not fit mobilenet_v3_small.*size"):
        module("tables.trained").network(given, SMALL, "trained")


@pytest.fixture
def untrained(monkeypatch, collect, options):
    """The rows of a figure for one network, without a trained one."""

    def run(table, network):
        monkeypatch.setattr(table, "names", lambda options: [network])
        monkeypatch.setattr(table, "starts", lambda options: ["random", "ghn3-digits"])
        rows = table.ROWS[1]
        return collect(
            replace(rows, after=(), jobs=lambda options: rows.jobs(options, None)), options()
        )

    return run


def test_filters(module, untrained):
    figure2, Results = module("tables.figure2"), module("tables.rows").Results
    found = untrained(figure2, "resnet18")
    assert found.failed == []
    model = torchvision_model("resnet18", 10, (3, 8, 8))
    predicted = from_pretrained("ghn3-digits").predict(model, (3, 8, 8))["conv1.weight"]
    stored = torch.tensor(found.rows[1]["filters"])
    torch.testing.assert_close(stored, predicted, atol=1e-4 * float(predicted.abs().max()), rtol=0)
    trained = {**found.rows[0], "start": "trained", "accuracy": 0.5}
    found.rows.append(trained)
    training = Results(rows=[{"network": "resnet18", "accuracy": 0.5, "seconds": 7.0}])
    table, figure = figure2.report(training, found)
    assert [row[1] for row in table.rows] == ["random", "ghn3-digits", "trained"]
    assert table.rows[2][2:] == ["7.0", "50.0"]
    assert [ax.get_title() for ax in figure.axes][2] == "resnet18, trained: 50.0 %"
    assert len(figure2.report(Results(), Results(found.settings))) == 1


def test_activations(module, untrained):
    figure9, Results = module("tables.figure9"), module("tables.rows").Results
    found = untrained(figure9, SMALL)
    random, predicted = found.rows
    names = [name for name, _ in random["variances"]]
    assert names[0] == "features.0.0" and names[-1] == "classifier.3"
    assert [name for name, _ in predicted["variances"]] == names
    values = {"random": [10.0, 1.0], "x": [0.0, 0.1], "trained": [0.1, 0.1]}
    rows = [
        {"network": "n", "start": start, "variances": [["a", first], ["b", second]]}
        for start, (first, second) in values.items()
    ]
    table, figure = figure9.report(Results(), Results(found.settings, rows=rows))
    assert table.rows[0] == ["n", "random", "2", "3.2", "1", "10", "1", "1.5"]
    assert table.rows[1][3:] == ["0.1", "0", "0.1", "0.1", "0.0"] and table.rows[2][-1] == "-"
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == list(values)
    assert lines[0].get_ydata() == pytest.approx([10.0, 1.0])
    assert lines[1].get_ydata() == pytest.approx([np.nan, 0.1], nan_ok=True)
    assert figure.axes[0].get_yscale() == "log"
    figure9.report(Results(), Results(found.settings))  # of nothing


@pytest.fixture
def ranked(module):
    """Rows of 12 networks of both kinds: the accuracy of network i after SGD is i."""
    Results = module("tables.rows").Results
    settings = {"images": "digits", "protocol": "small", "steps": 10, "evaluate_at": [1]}
    trained, predicted = Results(settings), Results({"images": "digits"})
    for split in ("test", "torchvision"):
        for i in range(12):
            key = {"split": split, "network": str(i), "seed": 0}
            curve = [{"step": step, "test": i / 100} for step in (0, 1, 10)]
            trained.rows.append({**key, "start": "random", "curve": curve})
            values = {"accuracy": i / 20, "calibrated": 0.5}
            predicted.rows.append({**key, "start": "ghn", **values})
    return trained, predicted


def test_rankings(module, ranked):
    Results = module("tables.rows").Results
    scores = Results({"batch": 64})
    for split in ("test", "torchvision"):
        for i in range(12):
            key = {"split": split, "network": str(i), "seed": 0}
            scores.rows.append({**key, "proxy": "snip", "score": -(10.0**i)})
            if i < 8 and split == "test":
                scores.rows.append({**key, "proxy": "gradnorm", "score": i % 2})
    (table,) = module("tables.table13").report(*ranked, scores)
    assert table.columns == ["method", "DeepNets-1M | 10 steps of SGD", "PyTorch | 10 steps of SGD"]
    cells = {row[0]: row[1:] for row in table.rows}
    assert list(cells) == [
        *("networks", "random ranking", "ghn", "ghn, calibrated", "gradnorm", "snip")
    ]
    assert cells["networks"] == ["12", "12"] and cells["ghn"] == ["1.00*", "1.00*"]
    assert cells["ghn, calibrated"] == ["-", "-"]  # all the same
    assert cells["snip"] == ["-1.00*", "-1.00*"]
    assert cells["gradnorm"] == ["0.19 (8)", "-"]  # tau-b: 4 / sqrt(28 * 16)
    mean, std = map(float, cells["random ranking"][0].split("±"))
    assert abs(mean) < 0.05 and std == pytest.approx(0.22, abs=0.04)  # 0.216 of 12 networks


def test_what_other_tables_know_is_only_copied(module, collect, options, tmp_path):
    ranking, finetuning = module("tables.ranking"), module("tables.finetuning")
    given = {"splits": ["test"], "num_networks": 2, "steps": 1, "lrs": [0.02]}
    known = {"split": "test", "network": "0", "seed": 0, "start": "random", "curve": "known"}
    module("tables.rows").prepare(finetuning.RANDOM, options(**given))
    module("tables.rows").append(tmp_path / "finetuning.jsonl", known)
    module("tables.rows").prepare(ranking.TRAINED.after[0], options(**given))
    found = collect(ranking.TRAINED, options(**given))
    assert found.rows[0] == known and found.rows[1]["curve"][-1]["step"] == 1
    assert len((tmp_path / "finetuning.jsonl").read_text().splitlines()) == 2
    counts = [len(ranking.networks(options(quick=quick))) for quick in (False, True)]
    assert counts == [90, 12]
    assert len(ranking.networks(options(num_networks=100, splits=["test"]))) == 100


def test_a_proxy_that_fails_is_a_row(module, collect, options, monkeypatch):
    table13 = module("tables.table13")
    proxies = {"params": None, "synflow-bn": None}
    monkeypatch.setattr(table13, "PROXIES", proxies)
    found = collect(table13.SCORES, options(splits=["test"], num_networks=2))
    scores = {(row["network"], row["proxy"]) for row in found.rows}
    assert scores == {("0", "params"), ("0", "synflow-bn"), ("1", "params")}
    (failed,) = found.failed  # one image of ones has no statistics behind a global pooling
    assert failed["network"] == "1" and failed["proxy"] == "synflow-bn"
    assert "Expected more than 1 value per channel" in failed["error"]


def test_properties(module, collect, options, ranked, monkeypatch):
    properties, Results = module("tables.properties"), module("tables.rows").Results
    monkeypatch.setattr(properties, "METHODS", ("ridge",))
    real = collect(properties.ROWS[1], options(splits=["test"], num_networks=1))
    nodes, ghn = real.rows
    assert nodes["start"] == "node types" and nodes["params"] > 1e5 and nodes["seconds"] > 0
    assert sum(nodes["embedding"]) > 10 and len(ghn["embedding"]) == 32
    found, generator = Results({}), np.random.default_rng(0)
    for row in ranked[0].rows:
        i, key = int(row["network"]), {"split": row["split"], "network": row["network"]}
        values = {"params": 2**i, "seconds": float(2**-i)}
        noise = generator.normal(size=3).tolist()
        found.rows.append({**key, "start": "node types", "embedding": noise, **values})
        if row["split"] == "test":
            found.rows.append({**key, "start": "ghn", "embedding": [float(i), 1.0]})
    trained = Results(ranked[0].settings, rows=[r for r in ranked[0].rows if r["network"] != "3"])
    (table,) = properties.report(trained, found)
    assert len(table.columns) == 8 and table.columns[4] == "DeepNets-1M | inference time"
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["networks", "-"] == ["11", "12", "12"] * 2
    assert rows["ghn", "ridge"] == ["1.00±0.00"] * 3 + ["-"] * 3
    assert all(abs(float(cell.split("±")[0])) < 0.9 for cell in rows["node types", "ridge"])
