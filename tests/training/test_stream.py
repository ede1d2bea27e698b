import pytest
import torch

from pyg_ghn.architectures import architecture_key, evaluation_architectures, split_net_args
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.training import NetworkStream, TrainConfig


def make_stream(**options):
    places = {name: options.pop(name) for name in ("dataset", "rank") if name in options}
    settings = {"meta_batch_size": 3, "pool_size": 4, "max_cells": 5, "channels": [8]} | options
    return NetworkStream(
        TrainConfig(steps=1, **settings), lambda data: data, 10, (3, 8, 8), **places
    )


def test_stream_is_a_function_of_seed_and_number_for_all_processes():
    first, second = make_stream(), make_stream()
    expected = [first.meta_batch(step) for step in range(3)][2]
    found = second.meta_batch(2)
    assert [n.net_args for n in expected] == [n.net_args for n in found]
    assert [n.net_args for n in make_stream(seed=1).meta_batch(2)] != [n.net_args for n in found]
    whole = [n.net_args for n in make_stream(meta_batch_size=4).meta_batch(3)]
    for rank in range(2):
        stream = make_stream(meta_batch_size=4, processes=2, rank=rank)
        share = [n.net_args for n in stream.meta_batch(3)]
        assert share == [whole[stream.place(i)] for i in range(2)] == whole[rank::2]


def test_networks_are_reused_replaced_and_built_by_one_process_only():
    stream = make_stream()
    seen = [id(n.model) for step in range(12) for n in stream.meta_batch(step)]
    assert len(set(seen)) < len(seen)
    assert len(stream._pool) <= 4
    for step in range(12, 18):
        before = [id(n) for n in stream._pool.values()]
        fresh = [n for n in stream.meta_batch(step) if id(n) not in before]
        assert len(fresh) == 1
    streams = [make_stream(meta_batch_size=4, pool_size=8, processes=2, rank=r) for r in range(2)]
    built, ages = [set(), set()], set()
    for number in range(20):
        for stream, seen in zip(streams, built, strict=True):
            assert len(stream.meta_batch(number)) == 2
            seen.update(stream._pool)
            assert len(stream._pool) <= 4
        ages |= {8 + number - index for stream in streams for index in stream._pool}
    assert not built[0] & built[1]
    assert built[0] | built[1] >= set(range(8, 28))  # each is fresh once
    assert max(ages) > 4


def test_limits_hold_and_skeletons_take_no_memory():
    stream = make_stream(meta_batch_size=4, fresh=4)
    for network in stream.meta_batch(0):
        assert network.net_args["n_cells"] <= 5 and network.net_args["C"] == 8
        assert all(p.is_meta for p in network.model.parameters())
        assert network.data.num_nodes > 10
    stream = make_stream(channels=None, max_cells=None, meta_batch_size=8, fresh=8)
    widths = {n.net_args["C"] for step in range(4) for n in stream.meta_batch(step)}
    assert widths <= {32, 48, 64, 80, 96, 112, 128} and len(widths) > 1
    assert torch.get_num_threads() == 1


def test_evaluation_architectures_are_never_trained_on(monkeypatch):
    assert len(evaluation_architectures()) > 1200
    held_out = next(split_net_args("test", 1))
    draws = iter([held_out, held_out | {"n_cells": held_out["n_cells"] + 1}])
    monkeypatch.setattr("pyg_ghn.training.stream.sample_net_args", lambda *_: next(draws))
    network = make_stream(meta_batch_size=1, max_cells=None).meta_batch(0)[0]
    assert network.net_args["n_cells"] == held_out["n_cells"] + 1


def test_further_models_take_their_share():
    options = {"models": ["squeezenet1_0", "shufflenet_v2_x0_5"], "model_share": 0.5}
    options |= {"meta_batch_size": 4, "fresh": 4}
    state = torch.get_rng_state()
    stream, again = make_stream(**options), make_stream(**options)
    assert torch.equal(torch.get_rng_state(), state)
    drawn = [network for number in range(8) for network in stream.meta_batch(number)]
    assert [n.net_args for number in range(8) for n in again.meta_batch(number)] == [
        n.net_args for n in drawn
    ]
    named = {n.net_args["model"]: n for n in drawn if "model" in n.net_args}
    assert named.keys() == {*options["models"]}
    assert 8 < sum("model" in n.net_args for n in drawn) < 24
    for name, network in named.items():
        first, second = network.model.parameters(), again._named[name].model.parameters()
        assert all(map(torch.equal, first, second))
        assert {*filter(None, network.data.param_name)} <= {
            n for n, _ in network.model.named_parameters()
        }
    for name in ("resnet18", "torchvision.models:resnet18", "deepnets:test/0"):
        with pytest.raises(ConfigError, match=f"{name}, which GHNs are evaluated on"):
            make_stream(models=[name])
    with pytest.raises(ConfigError, match=r"returns OrderedDict .* instead of logits \(2, 10\)"):
        make_stream(models=["lraspp_mobilenet_v3_large"])
    with pytest.raises(ConfigError, match="models must be a list of names, got 'alexnet'"):
        make_stream(models="alexnet")
    with pytest.raises(GHNError, match="no model 'resnt'"):
        make_stream(models=["resnt"])


@pytest.fixture
def dataset(tmp_path):
    return DeepNets1M(
        tmp_path, "bnfree", source="generated", num_networks=6, input_size=(3, 8, 8), log=False
    )


def test_architectures_of_a_data_set(dataset, monkeypatch):
    with pytest.raises(ConfigError, match=r"DeepNets1M.* more than 5 cells"):
        make_stream(dataset=dataset).meta_batch(0)
    monkeypatch.setattr("pyg_ghn.training.stream.evaluation_architectures", frozenset)
    known = {architecture_key(dataset.net_args(i)) for i in range(len(dataset))}
    stream = make_stream(dataset=dataset, max_cells=None, channels=None, meta_batch_size=8, fresh=8)
    networks = stream.meta_batch(0)
    for network in networks:
        assert architecture_key(network.net_args) in known
        parameters = {n: tuple(p.shape) for n, p in network.model.named_parameters()}
        names, shapes = network.data.param_name, network.data.param_shape
        named = {n: shape for n, shape in zip(names, shapes, strict=True) if n}
        assert named.items() <= parameters.items() and "classifier.0.weight" in named
    assert len({network.net_args["C"] for network in networks}) > 1
    again = make_stream(dataset=dataset, max_cells=None, channels=None, meta_batch_size=8, fresh=8)
    assert [n.net_args for n in again.meta_batch(0)] == [n.net_args for n in networks]
    limited = make_stream(dataset=dataset, max_cells=9, meta_batch_size=8, fresh=8).meta_batch(0)
    assert {n.net_args["C"] for n in limited} == {8}
    assert max(n.net_args["n_cells"] for n in limited) <= 9
