import pickle

import pytest
import torch
from torch_geometric.loader import DataLoader

from pyg_ghn.datasets import DeepNets1M, NetworkBatchSampler, NetworkLoader, StoreWriter
from pyg_ghn.datasets.parcel import Parcel
from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import GHN3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, records):
    root = tmp_path_factory.mktemp("root")
    with StoreWriter(root / "processed" / "generated_train_25.ghn", "train") as writer:
        for record in records:
            writer.append(record)
    transform = GHN3(32, 1, 4, (8, 8, 3, 3)).transform
    return DeepNets1M(root, "train", transform, source="generated", num_networks=25)


def flat(batches):
    return [index for batch in batches for index in batch]


def test_every_network_once_and_in_order(dataset):
    sampler = NetworkBatchSampler(dataset, 4)
    batches = list(sampler)
    assert flat(batches) == list(range(25))
    assert len(sampler) == len(batches) == 7 and len(batches[-1]) == 1
    assert len(NetworkBatchSampler(dataset, 4, drop_last=True)) == 6
    assert len(NetworkBatchSampler(dataset, 5, drop_last=True)) == 5
    assert list(NetworkBatchSampler(dataset[:0], 4, drop_last=True)) == []


def test_order_depends_on_seed_and_epoch(dataset):
    sampler = NetworkBatchSampler(dataset, 4, shuffle=True)
    first = list(sampler)
    assert first == list(sampler) and sorted(flat(first)) == list(range(25))
    sampler.set_epoch(1)
    assert dataset.epoch == 1 and list(sampler) != first
    sampler.set_epoch(0)
    assert dataset.epoch == 0 and list(sampler) == first
    assert list(NetworkBatchSampler(dataset, 4, shuffle=True, seed=1)) != first


def test_limit_of_nodes(dataset):
    counts, limit = dataset.node_counts, 350
    assert counts.max() > limit
    batches = list(NetworkBatchSampler(dataset, 5, limit, shuffle=True))
    assert sorted(flat(batches)) == list(range(25))
    sizes = [counts[batch].sum() for batch in batches]
    assert all(size <= limit or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    for batch, size, following in zip(batches, sizes, batches[1:], strict=False):
        assert (
            len(batch) == 5 or size + counts[following[0]] > limit
        )  # none is smaller than need be


@pytest.mark.parametrize("max_nodes", [None, 500])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_share_the_networks(dataset, max_nodes, drop_last):
    options = {"max_nodes": max_nodes, "shuffle": True, "drop_last": drop_last}
    ranks = [
        list(NetworkBatchSampler(dataset, 3, **options, rank=rank, world_size=4))
        for rank in range(4)
    ]
    seen = flat(flat(ranks))
    assert len(seen) == len(set(seen))
    if drop_last:
        assert len({len(batches) for batches in ranks}) == 1
    else:
        assert set(seen) == set(range(25))


def test_an_epoch_goes_on_where_it_stopped(dataset):
    options = {"max_nodes": 900, "shuffle": True, "rank": 1, "world_size": 2}
    sampler = NetworkBatchSampler(dataset, 3, **options)
    sampler.set_epoch(2)
    batches = list(sampler)
    resumed = NetworkBatchSampler(dataset, 3, **options)
    resumed.set_epoch(2, start=2)
    assert list(resumed) == batches[2:] and len(resumed) == len(batches) - 2


def ids_and_widths(batches):
    return [
        (number, args["C"], args["fc_dim"])
        for batch in batches
        for number, args in zip(batch.net_id.tolist(), batch.net_args, strict=True)
    ]


def test_loader_goes_on_where_it_stopped(dataset):
    loader = NetworkLoader(dataset, 3, shuffle=True)
    loader.set_epoch(5)
    expected = ids_and_widths(loader)
    assert len(expected) == 25
    resumed = NetworkLoader(dataset, 3, shuffle=True)
    resumed.set_epoch(5, start=4)
    assert ids_and_widths(resumed) == expected[12:]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers(dataset, context):
    alone = NetworkLoader(dataset, 8, shuffle=True)
    loader = NetworkLoader(
        dataset,
        8,
        shuffle=True,
        num_workers=1,
        multiprocessing_context=context,
        persistent_workers=True,
    )
    for epoch in range(2):  # a worker that lives on has the widths of the new epoch
        loader.set_epoch(epoch)
        batches = list(loader)
        alone.set_epoch(epoch)
        assert ids_and_widths(batches) == ids_and_widths(alone)
    for batch, expected in zip(batches, alone, strict=True):
        assert_same(batch, expected)


def test_parcel_keeps_everything(dataset):
    batch = dataset.batch(range(5))
    copy = pickle.loads(pickle.dumps(Parcel(batch)))
    assert copy.num_graphs == 5
    assert_same(copy, batch)
    for item, expected in zip(copy.to_data_list(), batch.to_data_list(), strict=True):
        assert_same(item, expected)


def assert_same(batch, expected):
    for name, value in expected.to_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(batch[name], value) and batch[name].dtype == value.dtype
        else:
            assert batch[name] == value


def test_the_loader_of_pyg_works_too(dataset):
    dataset.set_epoch(0)
    for batch, expected in zip(DataLoader(dataset, 5), NetworkLoader(dataset, 5), strict=True):
        for name in ("x", "edge_index", "spd", "param_shape", "batch", "net_id"):
            if isinstance(batch[name], torch.Tensor):
                assert torch.equal(batch[name], expected[name])
            else:
                assert batch[name] == expected[name]


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"max_nodes": 0}, {"rank": 2, "world_size": 2}, {"rank": -1}]
)
def test_invalid_options(dataset, options):
    with pytest.raises(ConfigError):
        NetworkLoader(dataset, **options)
