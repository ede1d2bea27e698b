import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import graph_embeddings, node_embeddings, predict_property
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3


@pytest.fixture(scope="module")
def graphs():
    with torch.device("meta"):
        networks = [network_from_args(args, C=8) for args in split_net_args("test", 3)]
    return [from_module(network) for network in networks]


def test_embeddings(graphs):
    torch.manual_seed(0)
    ghn = GHN3(16, num_layers=1, heads=4, max_shape=(8, 8, 3, 3), num_classes=10)
    seen = []
    decoder = ghn.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    ghn.predict_graph(graphs[1])
    decoder.remove()
    nodes = node_embeddings(ghn, graphs[1])
    assert torch.equal(nodes, seen[0]) and not nodes.requires_grad  # what parameters are made from
    found = graph_embeddings(ghn, iter(graphs))
    assert found.shape == (3, 16)
    np.testing.assert_allclose(found[1], nodes.numpy().sum(0) / len(nodes), rtol=1e-4, atol=1e-6)


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=(60, 5))


@pytest.mark.parametrize("method", ["ridge", "svr"])
def test_a_property_that_embeddings_tell(method, embeddings):
    values = 1e6 + 1e4 * embeddings @ np.arange(1.0, 6.0)  # scales make no difference
    found = predict_property(embeddings, values, method)
    assert found.tau > 0.8 and len(found.taus) == 5
    assert found.tau == pytest.approx(sum(found.taus) / 5)
    assert kendalltau(found.predicted, values).statistic > 0.8
    again = predict_property(embeddings, values, method)
    assert np.array_equal(again.predicted, found.predicted)
    assert not np.array_equal(predict_property(embeddings, values, method, seed=1)[0], again[0])


def test_a_curve_needs_a_kernel_and_networks_left_out_are_not_seen(embeddings):
    values = embeddings[:, 0] ** 2
    taus = [predict_property(embeddings[:, :2], values, m).tau for m in ("ridge", "svr")]
    assert taus[0] < 0.3 and taus[1] > 0.6
    values = embeddings[:, 0].copy()
    values[7] = 1e6  # of an outlier's own value nothing reaches its prediction
    assert abs(predict_property(embeddings, values, "ridge").predicted[7]) < 1e6 / 2


@pytest.mark.parametrize("method", ["ridge", "svr"])
def test_nothing_to_tell(method, embeddings):
    values = np.random.default_rng(1).normal(size=60)
    assert abs(predict_property(embeddings, values, method).tau) < 0.25
    same = predict_property(np.ones((60, 2)), values, method)
    assert same.taus == [0] * 5  # a mean of the others says nothing about a network


def test_bad_arguments(embeddings):
    with pytest.raises(ConfigError, match="Unknown method 'forest', choose one of ridge, svr"):
        predict_property(embeddings, embeddings[:, 0], "forest")
    with pytest.raises(ConfigError, match="9 networks are too few for 5 folds"):
        predict_property(embeddings[:9], embeddings[:9, 0])
    with pytest.raises(ConfigError, match=r"shapes \(60, 5\) and \(59,\)"):
        predict_property(embeddings, embeddings[:59, 0])
    with pytest.raises(ConfigError, match="finite"):
        predict_property(embeddings, np.full(60, np.nan))
