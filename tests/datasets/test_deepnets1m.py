import json
import multiprocessing
import pickle
import shutil
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader, DynamicBatchSampler

from pyg_ghn.architectures import architecture_key, split_net_args
from pyg_ghn.datasets import DeepNets1M, official
from pyg_ghn.datasets import generate as generate_module
from pyg_ghn.datasets.table import write_table
from pyg_ghn.errors import ArchitectureError, DatasetError
from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.nn import GHN3
from pyg_ghn.transforms import AddShortestPathEncoding

SMALL, LARGE = (3, 32, 32), (3, 224, 224)


@pytest.fixture(scope="module")
def generated(tmp_path_factory, nets):
    """A folder with a few networks of some splits."""
    root = tmp_path_factory.mktemp("generated")
    for split in ("train", "bnfree", "deep", "wide"):
        rows = [net | {"C": 48, "fc_dim": 72} for net in nets]
        path = root / "processed" / f"generated_{split}_25.jsonl"
        write_table(path, {"split": split, "num_networks": 25}, rows)
    return root


@pytest.fixture
def root(golden_folder, tmp_path):
    """A data set with the official file of 40 networks, and nothing else."""
    (tmp_path / "raw").mkdir()
    shutil.copy(golden_folder / "deepnets1m_train_meta.json", tmp_path / "raw")
    return tmp_path


def open_generated(root, split="train", **kwargs):
    return DeepNets1M(root, split, source="generated", num_networks=25, **kwargs)


def as_nx(labels, edges):
    graph = nx.DiGraph()
    graph.add_nodes_from((i, {"label": tuple(label)}) for i, label in enumerate(labels))
    graph.add_edges_from(map(tuple, edges))
    return graph


def test_official_items_are_the_golden_graphs(root, golden):
    dataset = DeepNets1M(root, "train", AddShortestPathEncoding(), log=False)
    assert len(dataset) == 40
    for i, (item, expected) in enumerate(zip(dataset, golden("deepnets/expected"), strict=True)):
        ops = [PRIMITIVES[op] for op in item.x.flatten().tolist()]
        ours = as_nx(zip(ops, item.param_name, strict=True), item.edge_index.t().tolist())
        assert nx.vf2pp_is_isomorphic(ours, as_nx(expected["nodes"], expected["edges"]), "label")
        longer = item.spd[item.spd > 1].long()
        assert [len(longer), int(longer.sum())] == list(expected["spd"].values())
        assert item.genotype == expected["net_args"]["genotype"]
        assert architecture_key(json.loads(item.net_args)) == architecture_key(dataset.net_args(i))
        without = expected["params_without_node"]
        assert {name for name in item.unsupported if not name.endswith(".bias")} <= set(without)


@pytest.mark.parametrize("size", [SMALL, LARGE, (1, 16, 16)])
@pytest.mark.parametrize("split", ["train", "bnfree", "wide"])
def test_items_are_the_graphs_of_the_networks(generated, split, size, assert_same_graph):
    dataset = open_generated(generated, split, input_size=size)
    for i in range(0, len(dataset), 4):
        network = dataset.network(i)
        assert all(p.is_meta for p in network.parameters())
        assert network.plan.num_classes == (1000 if size == LARGE else 10)
        assert_same_graph(dataset[i], from_module(network))


def test_widths_and_networks_on_a_device_and_for_other_images(generated):
    assert {json.loads(item.net_args)["C"] for item in open_generated(generated)} == {48}
    wide = open_generated(generated, "wide")
    assert wide.net_args(0)["C"] == wide.network(0).plan.C == 4 * 48
    large = open_generated(generated, "wide", input_size=LARGE)
    assert large.net_args(0)["C"] == 2 * 48 and large.network(0, 10, SMALL).plan.C == 4 * 48
    dataset = open_generated(generated)
    network = dataset.network(2, num_classes=7, input_size=(1, 16, 16), device="cpu")
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 7)


def test_subsets(generated):
    dataset = open_generated(generated)
    part = dataset[10:20:2]
    assert len(part) == 5 and part[1].net_id == 12
    assert part.net_args(1) == dataset.net_args(12) == json.loads(dataset[12].net_args)
    assert part.network(1).plan.n_cells == dataset.net_args(12)["n_cells"]
    assert part.node_counts.tolist() == [item.num_nodes for item in part]
    assert part[torch.tensor([4, 0])][0].net_id == 18
    assert dataset[np.int64(3)].net_id == 3 and dataset[-1].net_id == 24
    assert pickle.loads(pickle.dumps(part))[1].net_id == 12
    for wrong in (5, "1", part.net_args(1)):
        with pytest.raises(DatasetError, match=r"No network .*: give a number less than 5"):
            part.network(wrong)


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")])
def test_loader_of_pyg(generated, workers, context):
    dataset = open_generated(generated, transform=GHN3(32, 1, 4, (8, 8, 3, 3)).transform)
    options = {"num_workers": workers, "multiprocessing_context": context}
    loader = DataLoader(dataset, batch_size=8, **options)
    items = [item for batch in loader for item in batch.to_data_list()]
    assert len(items) == 25 and items[3].net_args == dataset[3].net_args
    for item, expected in zip(items, dataset, strict=True):
        assert item.keys() == expected.keys()
        for name, value in expected.to_dict().items():  # numbers: tensors of one element
            is_tensor = isinstance(value, torch.Tensor)
            assert torch.equal(item[name], value) if is_tensor else item[name] == value, name
            assert not is_tensor or item[name].dtype == value.dtype, name


def test_batches_of_limited_size_and_for_a_ghn(generated):
    dataset = open_generated(generated)
    sizes = [SimpleNamespace(num_nodes=size) for size in dataset.node_counts.tolist()]
    sampler = DynamicBatchSampler(sizes, max_num=700, shuffle=True)
    batches = [batch for batch in DataLoader(dataset, batch_sampler=sampler)]  # has no length
    assert sorted(i for batch in batches for i in batch.net_id.tolist()) == list(range(25))
    assert all(batch.num_nodes <= 700 or batch.num_graphs == 1 for batch in batches)
    ghn = GHN3(32, 1, 4, (8, 8, 3, 3), num_classes=10)
    dataset = open_generated(generated, transform=ghn.transform)
    (batch,) = DataLoader(dataset[[3, 8]], batch_size=2)
    for i, params in zip((3, 8), ghn(batch), strict=True):
        named = dict(dataset.network(i).named_parameters())
        assert {name: p.shape for name, p in params.items()} == {n: named[n].shape for n in params}


def test_first_networks_and_pre_filter(generated, root):
    some = DeepNets1M(generated, "train", source="generated", num_networks=7)
    assert len(some) == 7 and some.net_args(6) == open_generated(generated).net_args(6)
    assert len(DeepNets1M(root, "train", num_networks=4, log=False)) == 4
    with pytest.raises(DatasetError, match="only 40 official networks of the split 'train'"):
        DeepNets1M(root, "train", num_networks=41)

    def is_shallow(item):
        return json.loads(item.net_args)["n_cells"] < 9

    every = DeepNets1M(root, "train", log=False)
    dataset = DeepNets1M(root, "train", pre_filter=is_shallow)
    expected = [item.net_id for item in every if is_shallow(item)]
    assert 0 < len(expected) < 40 and [item.net_id for item in dataset] == expected
    assert dataset.network(1).plan.n_cells < 9 and dataset.node_counts.size == len(dataset)
    some = DeepNets1M(root, "train", pre_filter=is_shallow, num_networks=20)
    assert [item.net_id for item in some] == [number for number in expected if number < 20]


def test_generates_what_is_missing(tmp_path, monkeypatch):
    options = {"source": "generated", "num_networks": 3, "log": False}
    genotypes = [item.genotype for item in DeepNets1M(tmp_path, "bnfree", **options)]
    assert genotypes == [net_args["genotype"] for net_args in split_net_args("bnfree", 3)]
    path = tmp_path / "processed" / "generated_bnfree_3.jsonl"
    found = {file.name for file in tmp_path.rglob("*.*")}
    assert found == {path.name, "generated_bnfree_3.index.npy"}
    monkeypatch.setattr(generate_module, "with_num_nodes", None)  # nothing is generated any more
    DeepNets1M(tmp_path, "bnfree", **options | {"num_networks": 2})
    monkeypatch.undo()
    written = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"generated_bnfree_3\.jsonl is damaged"):
        DeepNets1M(tmp_path, "bnfree", **options)
    DeepNets1M(tmp_path, "bnfree", **options, force_reload=True)
    assert path.read_bytes() == written


def test_downloads_what_is_missing(tmp_path, golden_folder, monkeypatch):
    asked = []

    def fetch(folder, split, progress):
        asked.append(split)
        shutil.copytree(golden_folder, folder, dirs_exist_ok=True)

    monkeypatch.setattr(official, "fetch", fetch)
    for _ in range(2):
        DeepNets1M(tmp_path, "train", num_networks=2, log=False)
    shutil.rmtree(tmp_path / "raw")  # not needed any more
    DeepNets1M(tmp_path, "train", num_networks=2)
    assert asked == ["train"]


def test_predefined_networks_have_the_published_statistics(tmp_path, assert_same_graph):
    dataset = DeepNets1M(tmp_path, "predefined")
    assert not list(tmp_path.iterdir())
    dataset[0].name = "changed"  # of a copy
    published = {  # nodes, average degree, average path
        "resnet50": (126, 2.238095238095238, 11.193269841269842),
        "ViT": (129, 2.294573643410853, 10.700096899224807),
    }
    assert [item.name for item in dataset] == list(published)
    assert dataset.node_counts.tolist() == [126, 129]
    for i, item in enumerate(dataset):
        graph = nx.Graph(item.edge_index.t().tolist())
        degree = 2 * graph.number_of_edges() / item.num_nodes
        path = nx.average_shortest_path_length(graph)
        assert (item.num_nodes, degree, path) == pytest.approx(published[item.name])
        network = dataset.network(i, 7, device="cpu")
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)
        assert_same_graph(item, from_module(dataset.network(i), SMALL))
        counted = sum(p.numel() for p in dataset.network(i, 1000, LARGE).parameters())
        assert item.num_params["imagenet"] == counted
        assert dataset.net_args(i) == {"name": item.name}
    filtered = DeepNets1M(tmp_path, "predefined", pre_filter=lambda item: item.name == "ViT")
    assert [item.name for item in filtered] == ["ViT"] and filtered.network(0).genotype.is_vit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "Unknown split 'training'; choose from train, .*predefined"),
        ({"source": "here"}, "Unknown source 'here'; choose from official, generated"),
        ({"num_networks": 0}, "num_networks must be 1 or more"),
        ({"input_size": (32, 32)}, r"input_size must be \(channels, height, width\)"),
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0"),
    ],
)
def test_invalid_arguments(tmp_path, arguments, message):
    with pytest.raises(DatasetError, match=message):
        DeepNets1M(tmp_path, **{"split": "train"} | arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["official", "generated"])
def test_root_that_cannot_be_written(tmp_path, source):
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(DatasetError, match=f"{root}.*: Not a directory"):
        DeepNets1M(root, "val", source=source, num_networks=2)


def test_processes_make_the_files_once(tmp_path):
    # Each of them would finish the others' work and remove their unfinished files.
    context = multiprocessing.get_context("fork")
    options = {"source": "generated", "num_networks": 20, "log": False}
    arguments = {"target": DeepNets1M, "args": (tmp_path, "val"), "kwargs": options}
    processes = [context.Process(**arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert {path.suffix for path in tmp_path.rglob("*.*")} == {".jsonl", ".npy"}


def test_files_and_images_that_do_not_fit(generated, tmp_path):
    (tmp_path / "processed").mkdir()
    source = generated / "processed" / "generated_deep_25.jsonl"
    shutil.copy(source, tmp_path / "processed" / "generated_dense_25.jsonl")
    with pytest.raises(DatasetError, match=r"dense_25\.jsonl has networks of the split 'deep'"):
        open_generated(tmp_path, "dense")
    with pytest.raises(ArchitectureError, match="30x30"):
        list(open_generated(generated, input_size=(3, 30, 30)))
