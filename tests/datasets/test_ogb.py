"""A dozen networks in the format of the Open Graph Benchmark."""

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from pyg_ghn.architectures import count_parameters, network_graph, split_net_args
from pyg_ghn.errors import DatasetError

pytest.importorskip("ogb")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def script():
    """datasets/export_ogb.py; the documentation imports it, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "datasets"))
        yield importlib.import_module("export_ogb")


@pytest.fixture(scope="module")
def networks():
    nets = list(split_net_args("train", 12))
    return list(map(network_graph, nets)), [count_parameters(net_args) / 1e6 for net_args in nets]


@pytest.fixture
def folder(script, networks, tmp_path):
    script.export_ogb(*networks, tmp_path / "new" / "ogb", meaning="millions of parameters")
    return (tmp_path / "new" / "ogb").rename(tmp_path / "moved")


def test_exported_networks_are_loaded_and_predictions_scored(script, networks, folder):
    dataset, split, _ = script.load_ogb(folder)
    assert len(dataset) == 12 and dataset.num_tasks == 1 and dataset.task_type == "regression"
    for data, graph, target in zip(dataset, *networks, strict=True):
        assert torch.equal(data.edge_index, graph.edge_index)
        assert torch.equal(data.x[:, :1], graph.x)
        shapes = [tuple(n for n in row if n) for row in data.x[:, 1:].tolist()]
        assert shapes == [shape or () for shape in graph.param_shape]
        assert data.y.shape == (1, 1) and data.y.item() == pytest.approx(target)
    assert [len(split[part]) for part in ("train", "valid", "test")] == [10, 1, 1]
    assert sorted(i for part in split.values() for i in part.tolist()) == list(range(12))
    dataset, split, evaluator = script.load_ogb(folder)
    (batch,) = DataLoader(dataset[split["train"]], batch_size=10)
    assert evaluator.eval({"y_true": batch.y, "y_pred": batch.y}) == {"rmse": 0}
    score = evaluator.eval({"y_true": batch.y, "y_pred": batch.y + 2})
    assert score["rmse"] == pytest.approx(2)


def test_readme_and_what_pyg_has_admitted(folder, script):
    text = (folder / "deepnets1m" / "mapping" / "README.md").read_text()
    assert "The target: millions of parameters" in text and "- 4: conv\n" in text
    script.load_ogb(folder)
    assert Data in torch.serialization.get_safe_globals()


def test_code_of_the_documentation(script, networks, tmp_path, monkeypatch, capsys):
    script.export_ogb(*networks, tmp_path / "data" / "ogb_test", "ogbg-deepnets1m-test")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "ogb.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        found = {}
        exec(block, found)
        assert len(found["dataset"]) == 12 and set(found["split"]) == {"train", "valid", "test"}
    assert "RMSE: always the mean" in capsys.readouterr().out


def test_nothing_is_half_written(script, networks, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", full)
    with pytest.raises(DatasetError, match=r"Writing .*ogb failed: No space left"):
        script.export_ogb(*networks, tmp_path / "ogb")
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_exported(script, networks, tmp_path):
    graphs, targets = networks
    with pytest.raises(DatasetError, match="12 graphs but 11 targets"):
        script.export_ogb(graphs, targets[1:], tmp_path / "ogb")
    with pytest.raises(DatasetError, match="3 networks are too few"):
        script.export_ogb(graphs[:3], targets[:3], tmp_path / "ogb")
    with pytest.raises(DatasetError, match="exists; remove it"):
        script.export_ogb(graphs, targets, tmp_path)
    with pytest.raises(DatasetError, match=r"meta_dict\.pt is missing"):
        script.load_ogb(tmp_path)
    assert not any(tmp_path.iterdir())


def test_script_exports_the_number_of_parameters_or_results(
    script, golden_folder, tmp_path, capsys
):
    shutil.copytree(golden_folder, tmp_path / "root" / "raw")
    root, out = tmp_path / "root", tmp_path / "parameters"
    arguments = f"--root {root} --split train --source official --num_networks 12 --out {out}"
    script.main(arguments.split())
    assert "12 networks are in" in capsys.readouterr().out
    dataset = script.load_ogb(out).dataset
    assert [data.y.item() for data in dataset][:2] == pytest.approx([0.453866, 1.081626])
    out, results = tmp_path / "measured", tmp_path / "results.json"
    measured = [(split, str(i), i / 40) for split in ("train", "val") for i in range(3, 14)]
    networks = [{"split": split, "name": i, "accuracy": y} for split, i, y in measured]
    results.write_text(json.dumps({"networks": networks}))
    arguments = f"--root {root} --split train --source official --out {out} --results {results}"
    script.main(arguments.split())
    dataset = script.load_ogb(out).dataset
    assert [data.y.item() for data in dataset] == pytest.approx([i / 40 for i in range(3, 14)])
    assert dataset[0].num_nodes == 346

    with pytest.raises(SystemExit, match=r"results\.json has no results with the field 'loss'"):
        script.main([*arguments.replace(str(out), f"{out}2").split(), "--field", "loss"])
