import pytest

from pyg_ghn.architectures import network_from_args, split_net_args
from pyg_ghn.evaluation import TORCHVISION_NETWORKS, evaluation_networks


def count(model):
    return sum(param.numel() for param in model.parameters())


@pytest.mark.parametrize("split", ["val", "wide", "torchvision"])
def test_number_and_names(split, images):
    found = evaluation_networks(split, images, num_networks=3)
    assert len(found) == 3
    assert {network.split for network in found} == {split}
    assert len({network.name for network in found}) == 3


def test_whole_splits_and_torchvision_networks_that_fit_the_images(images):
    assert len(evaluation_networks("bnfree", images)) == 100
    for number in (None, 1000):
        assert len(evaluation_networks("torchvision", images, number)) == len(TORCHVISION_NETWORKS)
    (network,) = evaluation_networks("torchvision", images, 1)
    model = network.build()
    assert network.name == "resnet18"
    assert model.fc.out_features == 3
    assert model.conv1.stride == (1, 1)


@pytest.mark.parametrize(("split", "factor"), [("test", 1), ("wide", 4)])
def test_width(split, factor, images):
    (net_args,) = split_net_args(split, 1)
    size = {"num_classes": 3, "input_size": (3, 8, 8)}
    (network,) = evaluation_networks(split, images, 1, channels=8, fc_dim=16)
    expected = network_from_args(net_args, **size, C=8 * factor, fc_dim=16)
    assert count(network.build()) == count(expected)
    (network,) = evaluation_networks(split, images, 1)
    expected = network_from_args(net_args, **size, C=net_args["C"] * factor)
    assert count(network.build()) == count(expected)
