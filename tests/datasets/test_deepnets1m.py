import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.transforms import Compose, ToUndirected

from pyg_ghn.architectures import SPLITS, architecture_key, network_from_args, split_net_args
from pyg_ghn.datasets import DeepNets1M, StoreWriter, official_files
from pyg_ghn.datasets import generate as generate_module
from pyg_ghn.datasets.deepnets1m import _digest
from pyg_ghn.errors import ArchitectureError, DatasetError
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3
from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding

GOLDEN = Path(__file__).parents[1] / "golden" / "deepnets"
SMALL, LARGE = (3, 32, 32), (3, 224, 224)


@pytest.fixture(scope="module")
def generated(tmp_path_factory, records):
    """A folder with a few networks of some splits."""
    root = tmp_path_factory.mktemp("generated")
    for split in ("train", "bnfree", "deep", "wide"):
        with StoreWriter(root / "processed" / f"generated_{split}_25.ghn", split) as writer:
            for record in records:
                writer.append(record._replace(net_args=record.net_args | {"C": 48, "fc_dim": 72}))
    return root


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    shutil.copytree(GOLDEN, root / "raw")
    return root


def open_generated(root, split="train", **kwargs):
    return DeepNets1M(root, split, source="generated", num_networks=25, **kwargs)


def assert_equal(item, expected):
    """Two graphs with the same order of nodes."""
    assert torch.equal(item.x, expected.x) and torch.equal(item.edge_index, expected.edge_index)
    assert item.x.dtype == item.edge_index.dtype == torch.long
    for name in ("param_name", "param_shape", "bias_name", "unsupported"):
        assert item[name] == expected[name], name


@pytest.mark.parametrize("size", [SMALL, LARGE, (1, 16, 16)])
@pytest.mark.parametrize("split", ["train", "bnfree", "wide"])
def test_items_are_the_graphs_of_the_networks(generated, split, size):
    dataset = open_generated(generated, split, input_size=size)
    dataset.set_epoch(3)
    for i in range(0, len(dataset), 4):
        network = dataset.network(i)
        assert all(p.is_meta for p in network.parameters())
        assert network.plan.num_classes == (1000 if size == LARGE else 10)
        assert_equal(dataset[i], from_module(network))


def as_nx(data):
    graph = nx.DiGraph()
    labels = zip(
        data.x.flatten().tolist(), data.param_name, data.param_shape, data.bias_name, strict=True
    )
    graph.add_nodes_from((i, {"label": label}) for i, label in enumerate(labels))
    graph.add_edges_from(data.edge_index.t().tolist())
    return graph


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_official_items_are_the_graphs_of_the_networks(official, size):
    dataset = DeepNets1M(official, "train", input_size=size)
    assert len(dataset) == 40
    for i in range(0, 40, 3):
        item, expected = dataset[i], from_module(dataset.network(i))
        assert nx.vf2pp_is_isomorphic(as_nx(item), as_nx(expected), "label")
        assert sorted(item.unsupported) == sorted(expected.unsupported)


def test_official_items_tell_what_the_files_tell(official, golden):
    dataset = DeepNets1M(official, "train")
    for item, expected in zip(dataset, golden("deepnets"), strict=True):
        assert item.genotype == item.net_args["genotype"] == expected["net_args"]["genotype"]
        assert architecture_key(item.net_args) == architecture_key(expected["net_args"])
        assert set(item.num_params) == {"cifar10", "imagenet"}


def test_network_on_a_device_and_for_other_images(generated):
    dataset = open_generated(generated)
    network = dataset.network(2, num_classes=7, input_size=(1, 16, 16), device="cpu")
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 7)
    item = dataset[2]
    again = network_from_args(item.net_args, device="meta")
    assert {n: tuple(p.shape) for n, p in again.named_parameters() if n in item.param_name} == {
        name: shape for name, shape in zip(item.param_name, item.param_shape, strict=True) if name
    }


def test_another_width(generated):
    item = open_generated(generated).with_width(5, C=16, fc_dim=40)
    assert (item.net_args["C"], item.net_args["fc_dim"], item.net_id) == (16, 40, 5)
    assert_equal(item, from_module(network_from_args(item.net_args, device="meta")))


@pytest.mark.parametrize("width", [{"C": 33}, {"C": -2}, {"fc_dim": 0}])
def test_widths_that_no_network_has(generated, width):
    with pytest.raises(ArchitectureError, match=f"{next(iter(width))} must be"):
        open_generated(generated).with_width(5, **width)


def widths(dataset, epoch=None):
    if epoch is not None:
        dataset.set_epoch(epoch)
    names = ("C", "fc_dim", "imagenet_stride")
    return [tuple(item.net_args[name] for name in names) for item in dataset]


def test_widths_of_training_networks_depend_on_seed_epoch_and_item(generated):
    dataset = open_generated(generated)
    first, second = widths(dataset), widths(dataset, 1)
    assert first != second and len(set(first)) > 4
    assert widths(dataset, 0) == first and widths(open_generated(generated)) == first
    assert widths(open_generated(generated, seed=1)) != first
    dataset.set_epoch(1)
    assert widths(dataset[5:9]) == second[5:9]
    assert [item.net_args["C"] for item in dataset.__getitems__([7, 3])] == [
        second[7][0],
        second[3][0],
    ]
    assert {C for C, *_ in widths(open_generated(generated, input_size=LARGE))} != {
        C for C, *_ in first
    }


def test_evaluation_networks_have_one_width(generated):
    assert set(widths(open_generated(generated, "deep"), 2)) == {(48, 72, 4)}
    assert {C for C, *_ in widths(open_generated(generated, "wide"))} == {4 * 48}
    large = open_generated(generated, "wide", input_size=LARGE)
    assert {C for C, *_ in widths(large)} == {2 * 48}
    assert large.network(0).plan.C == 2 * 48 and large.network(0, 10, SMALL).plan.C == 4 * 48


def test_epoch_reaches_subsets_and_copies(generated):
    dataset = open_generated(generated)
    part = dataset[3:]
    dataset.set_epoch(4)
    assert part.epoch == 4 and pickle.loads(pickle.dumps(dataset)).epoch == 4


def test_subsets(generated):
    dataset = open_generated(generated)
    part = dataset[10:20:2]
    assert len(part) == 5 and part[1].net_id == 12
    assert part.network(1).plan.n_cells == dataset[12].net_args["n_cells"]
    assert part.node_counts.tolist() == [item.num_nodes for item in part]
    assert part[torch.tensor([4, 0])].batch([1, 0]).net_id.tolist() == [10, 18]
    assert dataset.shuffle()[:3].node_counts.shape == (3,)


@pytest.mark.parametrize(
    "transform",
    [
        None,
        GHN3(32, 1, 4, (8, 8, 3, 3)).transform,
        Compose([AddDegreeEncoding(), ToUndirected(), AddShortestPathEncoding()]),
    ],
)
def test_batch_is_that_of_the_items(generated, transform):
    dataset = open_generated(generated, transform=transform)
    indices = [4, 24, 0, 7]
    items = [dataset[i] for i in indices]
    for item, expected in zip(dataset.__getitems__(indices), items, strict=True):
        assert_same(item, expected)

    batch, expected = dataset.batch(indices), Batch.from_data_list(items)
    assert set(batch.keys()) == set(expected.keys()) and batch.num_graphs == 4
    for name, value in expected.to_dict().items():
        if isinstance(value, dict):
            value = [item[name] for item in items]
        assert_value(batch[name], value)
        if name in expected._slice_dict and not isinstance(expected._slice_dict[name], dict):
            assert_value(batch._slice_dict[name], expected._slice_dict[name])
            assert_value(batch._inc_dict[name], expected._inc_dict[name])
    for item, expected in zip(batch.to_data_list(), items, strict=True):
        item.net_id = int(item.net_id)
        assert_same(item, expected)


def assert_same(item, expected):
    assert set(item.keys()) == set(expected.keys())
    for name, value in expected.to_dict().items():
        assert_value(item[name], value)


def assert_value(value, expected):
    if isinstance(expected, torch.Tensor):
        assert value.dtype == expected.dtype and torch.equal(value, expected)
    else:
        assert value == expected


def test_ghn_reads_it(generated):
    ghn = GHN3(32, 1, 4, (8, 8, 3, 3), num_classes=10)
    dataset = open_generated(generated, transform=ghn.transform)
    for i, params in zip((3, 8), ghn(dataset.batch([3, 8])), strict=True):
        named = dict(dataset.network(i).named_parameters())
        assert {name: p.shape for name, p in params.items()} == {n: named[n].shape for n in params}


def test_first_networks(generated, tmp_path):
    dataset = open_generated(generated)
    some = DeepNets1M(generated, "train", source="generated", num_networks=7)
    assert len(some) == 7 and some[6].net_args == dataset[6].net_args
    shutil.copytree(GOLDEN, tmp_path / "raw")
    assert len(DeepNets1M(tmp_path, "train", num_networks=4, log=False)) == 4
    assert [path.name for path in (tmp_path / "processed").iterdir()] == ["official_train_4.ghn"]
    with pytest.raises(DatasetError, match="between 1 and 40"):
        DeepNets1M(tmp_path, "train", num_networks=41)
    assert len(list((tmp_path / "processed").iterdir())) == 1


def test_too_few_networks(official):
    DeepNets1M(official, "train")
    with pytest.raises(DatasetError, match="only 40 official networks of the split 'train'"):
        DeepNets1M(official, "train", num_networks=41)


def is_shallow(data):
    return data.net_args["n_cells"] < 9


def has_cells(least):
    return lambda data: data.net_args["n_cells"] >= least


def test_pre_filter(official):
    dataset = DeepNets1M(official, "train", pre_filter=is_shallow)
    every = DeepNets1M(official, "train")
    expected = [item.net_id for item in every if is_shallow(item)]
    assert 0 < len(dataset) == len(expected) < len(every) == 40
    assert [item.net_id for item in dataset] == expected
    assert dataset.network(1).plan.n_cells < 9 and dataset.node_counts.size == len(dataset)
    asked_once = DeepNets1M(official, "train", pre_filter=is_shallow)
    assert [item.net_id for item in asked_once] == expected
    some = DeepNets1M(official, "train", pre_filter=is_shallow, num_networks=20)
    assert [item.net_id for item in some] == [number for number in expected if number < 20]
    for least in (5, 12):  # the same name, other variables
        deep = DeepNets1M(official, "train", pre_filter=has_cells(least))
        expected = [item.net_id for item in every if item.net_args["n_cells"] >= least]
        assert [item.net_id for item in deep] == expected
    (path,) = Path(official).glob("processed/*first_20*.npy")
    os.truncate(path, 10)
    with pytest.raises(DatasetError, match=rf"{path.name} is damaged"):
        DeepNets1M(official, "train", pre_filter=is_shallow, num_networks=20)


def test_filters_are_known_again():
    def of(least, names):
        return lambda data: data.num_nodes >= least and data.name in names

    same = [_digest(of(3, set(names))) for names in ("ab", "ba", "ab")]
    assert len(set(same)) == 1
    assert len({_digest(f) for f in (of(3, "a"), of(4, "a"), of(3, "b"), is_shallow, len)}) == 5


def test_generates_what_is_missing(tmp_path, monkeypatch):
    dataset = DeepNets1M(tmp_path, "bnfree", source="generated", num_networks=3, log=False)
    assert [item.net_args["genotype"] for item in dataset] == [
        net_args["genotype"] for net_args in split_net_args("bnfree", 3)
    ]
    path = tmp_path / "processed" / "generated_bnfree_3.ghn"
    assert list(tmp_path.rglob("*.*")) == [path]
    monkeypatch.setattr(generate_module, "record", None)  # nothing is generated any more
    DeepNets1M(tmp_path, "bnfree", source="generated", num_networks=2)
    monkeypatch.undo()
    written = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"generated_bnfree_3\.ghn"):
        DeepNets1M(tmp_path, "bnfree", source="generated", num_networks=3)
    again = {"source": "generated", "num_networks": 3, "force_reload": True, "log": False}
    DeepNets1M(tmp_path, "bnfree", **again)
    assert path.read_bytes() == written


def test_downloads_what_is_missing(tmp_path, monkeypatch):
    asked = []

    def fetch(folder, split, progress):
        asked.append(split)
        shutil.copytree(GOLDEN, folder, dirs_exist_ok=True)

    monkeypatch.setattr(official_files, "fetch", fetch)
    for _ in range(2):
        DeepNets1M(tmp_path, "train", num_networks=2, log=False)
    shutil.rmtree(tmp_path / "raw")  # not needed any more
    DeepNets1M(tmp_path, "train", num_networks=2)
    assert asked == ["train"]


def test_predefined_networks_have_the_published_statistics(tmp_path):
    dataset = DeepNets1M(tmp_path, "predefined")
    assert not list(tmp_path.iterdir())
    published = {  # nodes, average degree, average path
        "resnet50": (126, 2.238095238095238, 11.193269841269842),
        "ViT": (129, 2.294573643410853, 10.700096899224807),
    }
    assert [item.name for item in dataset] == list(published)
    for i, item in enumerate(dataset):
        graph = nx.Graph(item.edge_index.t().tolist())
        degree = 2 * graph.number_of_edges() / item.num_nodes
        path = nx.average_shortest_path_length(graph)
        assert (item.num_nodes, degree, path) == pytest.approx(published[item.name])
        network = dataset.network(i, 7, device="cpu")
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)
        assert_equal(item, from_module(dataset.network(i), SMALL))
        counted = sum(p.numel() for p in dataset.network(i, 1000, LARGE).parameters())
        assert item.num_params["imagenet"] == counted
    filtered = DeepNets1M(tmp_path, "predefined", pre_filter=lambda item: item.name == "ViT")
    assert [item.name for item in filtered] == ["ViT"] and filtered.network(0).genotype.is_vit
    with pytest.raises(DatasetError, match="have a width of their own"):
        dataset.with_width(0, C=64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "Unknown split 'training'; choose from train, .*predefined"),
        ({"source": "here"}, "Unknown source 'here'; choose from official, generated"),
        ({"num_networks": 0}, "num_networks must be 1 or more"),
        ({"input_size": (32, 32)}, r"input_size must be \(channels, height, width\)"),
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
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


def open_it(root):
    DeepNets1M(root, "val", source="generated", num_networks=20, log=False)


def test_processes_make_the_files_once(tmp_path):
    # Each of them would finish the others' work and remove their unfinished files.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_it, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.rglob("*.*")] == ["generated_val_20.ghn"]


def test_files_of_other_splits(generated, tmp_path):
    (tmp_path / "processed").mkdir()
    source = generated / "processed" / "generated_deep_25.ghn"
    shutil.copy(source, tmp_path / "processed" / "generated_dense_25.ghn")
    with pytest.raises(DatasetError, match=r"dense_25\.ghn has networks of the split 'deep'"):
        open_generated(tmp_path, "dense")


def test_images_that_do_not_fit(generated):
    with pytest.raises(ArchitectureError, match="30x30"):
        open_generated(generated, input_size=(3, 30, 30)).batch(range(25))


def test_every_split_has_a_source():
    assert set(SPLITS) == set(official_files.SPLIT_FILES)


def test_numbers_are_those_of_numpy_too(generated):
    dataset = open_generated(generated)
    assert dataset[np.int64(3)].net_id == 3 and dataset[-1].net_id == 24
