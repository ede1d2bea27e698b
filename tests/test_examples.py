"""The scripts of examples/; those on molecules read some of our own, in files as they download."""

import gzip
import importlib.util
import json
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sizes(models):
    return [sum(p.numel() for p in model.parameters()) for model in models]


def test_predict_and_run(capsys):
    runpy.run_path(str(EXAMPLES / "predict_and_run.py"), run_name="__main__")
    assert "held-out digits classified" in capsys.readouterr().out


class TestDeepNetsRegression:
    @pytest.fixture
    def script(self):
        return load("deepnets_regression")

    def test_prints_a_table(self, script, tmp_path, capsys):
        cache = tmp_path / "accuracies.json"
        cache.write_text(json.dumps([0.9, 0.8, 0.95, 0.85, 0.1, 0.92, 0.88]))
        script.main(["--networks=8", "--epochs=1", "--seeds=2", f"--cache={cache}"])
        *_, head, median, gin, gps, ghn3 = capsys.readouterr().out.splitlines()
        assert head.split()[:2] == ["model", "parameters"]
        assert [line.split()[0] for line in (median, gin, gps, ghn3)] == ["median", *script.MODELS]
        found = json.loads(cache.read_text())
        assert len(found) == 8 and 0 <= found[7] <= 1  # the one that was missing

    def test_models_are_of_about_equal_size_and_ranked(self, script):
        found = sizes(make() for make in script.MODELS.values())
        assert max(found) < 1.1 * min(found)
        a = torch.tensor([0.1, 5.0, 2.0, 3.0])
        assert script.rank_correlation(a, a.exp()) == pytest.approx(1)
        assert script.rank_correlation(a, -a) == pytest.approx(-1)


class TestShortestPaths:
    @pytest.fixture
    def script(self):
        return load("shortest_paths")

    def answers(self, script, make):
        """A model's answers for pairs of one ring and two."""
        model = make(script.FEATURES, 2).double().eval()
        encode = script.AddShortestPathEncoding(script.CUTOFF)
        batch = Batch.from_data_list([encode(graph) for graph in script.rings(20)])
        batch.x = batch.x.double()
        assert batch.y.tolist() == [0, 1] * 10
        one, two = model(batch).view(10, 2, 2).unbind(dim=1)
        return one, two

    @pytest.mark.parametrize("name", ["gcn", "gin"])
    def test_message_passing_answers_alike_for_one_ring_and_two(self, name, script):
        assert torch.allclose(*self.answers(script, getattr(script, name)), atol=1e-10)

    def test_models_are_of_equal_size_and_paths_tell(self, script):
        found = sizes(make(script.FEATURES, 2) for make in script.MODELS.values())
        assert max(found) < 1.05 * min(found)
        one, two = self.answers(script, script.ghn3)
        assert not torch.isclose(one, two, atol=1e-6).all(dim=1).any()

    def test_prints_a_table(self, script, monkeypatch, capsys):
        monkeypatch.setattr(script, "SEEDS", 1)
        monkeypatch.setattr(script, "EPOCHS", 1)
        script.main()
        table = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in table[2:]] == ["model", "GCN", "GIN", "GHN3Conv"]
        assert "50.0   (50.0 to 50.0)" in table[3] and "50.0   (50.0 to 50.0)" in table[4]


class TestOgbgMolhiv:
    @pytest.fixture
    def script(self):
        pytest.importorskip("ogb")
        return load("ogbg_molhiv")

    @pytest.fixture
    def root(self, tmp_path):
        """30 chains of atoms; those of the second kind of atom are active."""
        folder, rng = tmp_path / "ogbg_molhiv", np.random.default_rng(0)
        labels, lengths = np.arange(30) % 2, rng.integers(1, 12, 30)
        bonds = [(i, i + 1) for n in lengths for i in range(n - 1)]
        atoms = np.repeat(labels, lengths)[:, None] * np.ones(9, dtype=int)
        tables = {"num-node-list": lengths, "num-edge-list": lengths - 1, "graph-label": labels}
        tables |= {"node-feat": atoms, "edge": bonds}
        tables |= {"edge-feat": np.zeros((len(bonds), 3), dtype=int)}
        files = {f"raw/{name}.csv.gz": rows for name, rows in tables.items()}
        for split, *ends in (("train", 0, 18), ("valid", 18, 24), ("test", 24, 30)):
            files[f"split/scaffold/{split}.csv.gz"] = np.arange(*ends)
        for name, rows in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(folder / name, "wt") as file:
                file.writelines(",".join(map(str, np.atleast_1d(row))) + "\n" for row in rows)
        (folder / "RELEASE_v1.txt").touch()
        return tmp_path

    @pytest.mark.filterwarnings("ignore")
    def test_trains_and_evaluates(self, script, root, capsys):
        options = "--epochs=8 --channels=16 --layers=2 --heads=4 --batch_size=6 --lr=1e-2".split()
        for _ in range(2):  # the second run reads the processed file
            script.main([f"--root={root}", *options])
            *_, last = capsys.readouterr().out.splitlines()
            assert last == "test ROC-AUC of the epoch with the best validation: 1.0000"

    @pytest.mark.filterwarnings("ignore")
    def test_molecules_come_with_paths(self, script, root):
        splits = script.load(str(root))
        lengths = {name: len(graphs) for name, graphs in splits.items()}
        assert lengths == {"train": 18, "valid": 6, "test": 6}
        n = splits["train"][0].num_nodes
        lengths = splits["train"][0].spd.view(n, n)
        assert lengths.max() == n - 1 and (lengths == lengths.t()).all()  # bonds go both ways


def write_molecules(raw, count=20):
    """Rings of four to seven atoms; what is asked for is the number of atoms of a kind."""
    raw.mkdir(parents=True)
    for split in ("train", "val", "test"):
        molecules = []
        for i in range(count):
            ring, atoms = torch.eye(4 + i % 4).roll(1, dims=1), torch.randint(2, (4 + i % 4,))
            molecule = {"atom_type": atoms, "bond_type": (ring + ring.t()).to(torch.uint8)}
            target = {"logP_SA_cycle_normalized": atoms.sum().float().view(1)}
            molecules.append(molecule | target)
        (raw / f"{split}.pickle").write_bytes(pickle.dumps(molecules))
        (raw / f"{split}.index").write_text(",".join(map(str, range(count))) + "\n")


def test_zinc(tmp_path, capsys):
    write_molecules(tmp_path / "raw")
    options = ["--epochs=25", "--channels=16", "--layers=2", "--batch_size=5", "--lr=5e-3"]
    for _ in range(2):  # the second run reads the processed files, paths included
        load("zinc").main([f"--root={tmp_path}", *options])
        *_, last = capsys.readouterr().out.splitlines()
        assert float(last.removeprefix("test error of the epoch with the best validation: ")) < 0.5
