"""The script on molecules of our own, in files as ogb downloads them."""

import gzip

import numpy as np
import pytest

pytest.importorskip("ogb")

NUM_MOLECULES = 30


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.writelines(",".join(map(str, np.atleast_1d(row))) + "\n" for row in rows)


@pytest.fixture
def root(tmp_path):
    """Chains of atoms in the layout of ogbg-molhiv; those of the second kind of atom are active."""
    folder, rng = tmp_path / "ogbg_molhiv", np.random.default_rng(0)
    sizes = rng.integers(1, 12, NUM_MOLECULES)
    labels = np.arange(NUM_MOLECULES) % 2
    atoms = np.repeat(labels, sizes)[:, None] * np.ones(9, dtype=int)
    bonds = [(i, i + 1) for n in sizes for i in range(n - 1)]
    tables = {
        "num-node-list": sizes,
        "num-edge-list": sizes - 1,
        "node-feat": atoms,
        "edge": bonds,
        "edge-feat": np.zeros((len(bonds), 3), dtype=int),
        "graph-label": labels,
    }
    for name, rows in tables.items():
        write_csv(folder / "raw" / f"{name}.csv.gz", rows)
    for split, index in zip(
        ("train", "valid", "test"), np.split(np.arange(30), [18, 24]), strict=True
    ):
        write_csv(folder / "split" / "scaffold" / f"{split}.csv.gz", index)
    (folder / "RELEASE_v1.txt").touch()
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_trains_and_evaluates(root, example, capsys):
    script = example("ogbg_molhiv")
    options = [
        "--epochs=8",
        "--channels=16",
        "--layers=2",
        "--heads=4",
        "--batch_size=6",
        "--lr=1e-2",
    ]
    for _ in range(2):  # the second run reads the processed file
        script.main([f"--root={root}", *options])
        *_, last = capsys.readouterr().out.splitlines()
        assert last == "test ROC-AUC of the epoch with the best validation: 1.0000"


@pytest.mark.filterwarnings("ignore")
def test_molecules_come_with_paths(root, example):
    splits = example("ogbg_molhiv").load(str(root))
    assert {name: len(graphs) for name, graphs in splits.items()} == {
        "train": 18,
        "valid": 6,
        "test": 6,
    }
    graph = splits["train"][0]
    n = graph.num_nodes
    lengths = graph.spd.view(n, n)
    assert lengths.max() == n - 1 and (lengths == lengths.t()).all()  # bonds go both ways
