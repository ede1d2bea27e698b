"""The official files against the graphs that follow from the arguments."""

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyg_ghn.errors import DatasetError

h5py = pytest.importorskip("h5py")

SCRIPT = Path(__file__).parents[2] / "datasets" / "check_official.py"
ADJ = "train/1/adj"


@pytest.fixture(scope="module")
def script():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture
def raw(golden_folder, tmp_path):
    return Path(shutil.copytree(golden_folder, tmp_path / "raw"))


def edit_meta(raw, edit):
    path = raw / "deepnets1m_train_meta.json"
    meta = json.loads(path.read_text())
    edit(meta["train"])
    path.write_text(json.dumps(meta))


def edit(raw, key, write):
    """Writes into the file, from which what is at `key` is taken and given."""
    with h5py.File(raw / "deepnets1m_train.hdf5", "a") as file:
        array = None if key == "train/1" else file[key][()]
        del file[key]
        write(file, array)


def replace(raw, key, change):
    """Changes an array of network 1."""
    key = f"train/1/{key}"
    edit(raw, key, lambda file, array: file.create_dataset(key, data=change(array)))


def test_golden_graphs_follow_from_their_arguments(script, raw, capsys):
    script.main(["--raw", str(raw), "--split", "train"])
    assert "40 of 40 graphs follow from the arguments" in capsys.readouterr().out

    def rename(meta):
        names = meta["meta"]["unique_op_names"]
        for number, name in names.items():
            name = name.replace(".op.", ".").replace(".attn.", ".")
            names[number] = name.replace("to_out.0.weight", "to_out.0.").replace("input", "")

    edit_meta(raw, rename)
    assert script.check(raw, "train", 12) == []


def test_graphs_that_differ_are_named(script, raw):
    def cut(adj):
        source, target = np.argwhere(adj == 1)[-1]
        adj[source, target] = 0
        return adj

    replace(raw, "adj", cut)
    assert script.check(raw, "train", 3) == [1]
    edit_meta(raw, lambda meta: meta["nets"].insert(0, meta["nets"].pop(2)))
    with pytest.raises(SystemExit, match="3 networks differ: 0, 1, 2"):
        script.main(["--raw", str(raw), "--split", "train", "--num_networks", "3"])


def link(raw, to):
    shutil.copy(raw / "deepnets1m_train.hdf5", raw / "other.hdf5")
    edit(raw, "train/1", lambda file, _: file.__setitem__("train/1", to))


def view(raw, file, adj):
    layout = h5py.VirtualLayout(adj.shape, "uint8")
    layout[:] = h5py.VirtualSource(raw / "other.hdf5", ADJ, adj.shape)
    file.create_virtual_dataset(ADJ, layout)


def store_outside(file, adj):
    outside = [("/etc/passwd", 0, adj.size)]
    file.create_dataset(ADJ, adj.shape, "uint8", external=outside)


def declare(raw, shape):
    edit(raw, ADJ, lambda file, _: file.create_dataset(ADJ, shape, "uint8", chunks=(64, 64)))


ELSEWHERE = "'train/1/nodes' is a link to somewhere else"
BAD = {
    "external link": (lambda raw: link(raw, h5py.ExternalLink("other.hdf5", "train/1")), ELSEWHERE),
    "soft link": (lambda raw: link(raw, h5py.SoftLink("/train/2")), ELSEWHERE),
    "external storage": (
        lambda raw: edit(raw, ADJ, store_outside),
        "'train/1/adj' is no array within the file",
    ),
    "view": (
        lambda raw: edit(raw, ADJ, lambda file, adj: view(raw, file, adj)),
        "'train/1/adj' is no array within the file",
    ),
    "huge": (lambda raw: declare(raw, (10**6, 10**6)), r"at most 4096 nodes, got uint8 of \(10000"),
    "other shape": (lambda raw: declare(raw, (99, 99)), r"'adj' of \(99, 99\) are no graph"),
    "NaN": (
        lambda raw: replace(raw, "adj", lambda adj: np.full(adj.shape, np.nan)),
        "must be a matrix of whole numbers, .* got float64",
    ),
    "columns": (lambda raw: replace(raw, "nodes", lambda nodes: nodes[:, :2]), "are no graph"),
    "no nodes": (lambda raw: replace(raw, "nodes", lambda nodes: nodes[:0]), "are no graph"),
    "missing": (lambda raw: link(raw, h5py.SoftLink("/nowhere")), "link to somewhere"),
    "ids": (
        lambda raw: replace(raw, "nodes", lambda nodes: nodes + np.uint16([0, 0, 900])),
        "are not in the tables",
    ),
    "primitive": (
        lambda raw: edit_meta(
            raw, lambda meta: meta["meta"]["primitives_ext"].update({"1": "conv_transpose"})
        ),
        "primitive 'conv_transpose' is unknown; known are max_pool",
    ),
    "arguments": (
        lambda raw: edit_meta(raw, lambda meta: meta["nets"][1].update(droppath=1)),
        "'droppath'",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_files(script, raw, make, message):
    make(raw)
    where = r"Network \d+ of the split 'train' in .*deepnets1m_train\.hdf5 and .*meta\.json: "
    with pytest.raises(DatasetError, match=f"{where}.*{message}"):
        script.check(raw, "train")


@pytest.mark.parametrize("name", ["deepnets1m_train.hdf5", "deepnets1m_train_meta.json"])
@pytest.mark.parametrize("keep", [None, 0, 1000])
def test_damaged_or_missing(script, raw, name, keep):
    path = raw / name
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[:keep])
    with pytest.raises(SystemExit, match=f"{name} is missing, damaged or"):
        script.main(["--raw", str(raw), "--split", "train"])


@pytest.mark.parametrize(
    ("norm", "stem0", "stem1"),
    [(True, "stem0.4.weight", "stem1.2.weight"), (False, "stem0.3.weight", "stem1.1.weight")],
)
def test_edge_of_the_second_stem(script, norm, stem0, stem1):
    stems = ["", "stem0.0.weight", stem0, "stem1.0.weight", stem1]
    labels = [("conv", name) for name in [*stems, *(f"cells.{i}" for i in range(6))]]
    wrong = [(2, 3), (2, 5), (2, 8), (4, 6), (9, 10)]
    right = [(2, 3), (2, 5), (4, 6), (4, 8), (9, 10)]
    assert script.mend_stem(wrong, labels, norm) == right
    for edges in (
        right,
        [(2, 3), (2, 6), (2, 7), (4, 8)],  # the last two are neighbours: a FactorizedReduce
        [(2, 3), (2, 8), (4, 6), (4, 7)],  # the second part has two readers
        [(2, 3), (4, 6)],  # the first part has one
        [(2, 3), (2, 6), (2, 9)],  # the second part has none
    ):
        assert script.mend_stem(edges, labels, norm) == edges
    assert script.mend_stem(wrong, labels[:4] + labels[5:], norm) == wrong  # it is cut off


def test_inputs_and_primitives_are_mended(script):
    ops = ("input", "conv", "bn", "sum", "concat", "cse", "conv", "msa", "glob_avg")
    joins = [(i, j) for j in (3, 4, 5) for i in (0, 1, 2)]
    single = [(0, 1), (0, 2), (1, 6), (2, 7), (5, 8)]
    wrong = sorted([*joins, *single, (1, 2), (4, 6), (5, 6), (6, 7), (7, 8)])
    assert script.mend_inputs(wrong, [(op, "") for op in ops]) == sorted(joins + single)
    found = [script.our_op(name) for name in ("conv_7x1_1x7", "max_pool_3x3", "fc-b", "sum")]
    assert found == ["conv", "max_pool", "bias", "sum"]


@pytest.mark.parametrize(
    ("op", "name", "full"),
    [
        ("conv", "_ops.1.op.1.weight", "cells.4._ops.1.op.1.weight"),
        ("bn", "_ops.12.7.weight", "cells.4._ops.12.op.7.weight"),
        ("conv", "preprocess0.conv_2.weight", "cells.4.preprocess0.conv_2.weight"),
        ("conv", "_ops.3.to_qkv.weight", "cells.4._ops.3.attn.to_qkv.weight"),
        ("conv", "_ops.3.to_out.0.", "cells.4._ops.3.attn.to_out.0.weight"),
        ("bias", "_ops.3.to_out.0.bias", "cells.4._ops.3.attn.to_out.0.bias"),
        ("conv", "cells.4._ops.2.fc1.weight", "cells.4._ops.2.fc1.weight"),
        ("conv", "stem0.weight", "stem0.weight"),
        ("pos_enc", "pos_enc.weight", "pos_enc.weight"),
        ("bias", "classifier.3.bias", "classifier.3.bias"),
        ("input", "", ""),
        ("max_pool", "_ops.1.max_pool", ""),
    ],
)
def test_parameter_names_are_completed(script, op, name, full):
    assert script.our_name(name, 4, op) == full
