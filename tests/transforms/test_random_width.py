import json

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from pyg_ghn.architectures import network_from_args, network_graph, split_net_args
from pyg_ghn.errors import ConfigError
from pyg_ghn.graph import from_module
from pyg_ghn.transforms import RandomWidth

SMALL, LARGE = (3, 32, 32), (3, 224, 224)


def items(count=12, size=SMALL):
    for i, net_args in enumerate(split_net_args("train", count)):
        item = network_graph(net_args, 10, size)
        item.net_args, item.net_id = json.dumps(net_args), i
        item.num_params = net_args["num_params"]
        yield item


def widths(graphs):
    found = [json.loads(graph.net_args) for graph in graphs]
    return [(args["C"], args["fc_dim"], args["imagenet_stride"]) for args in found]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_graph_of_the_network_of_that_width(size):
    for item in items(5, size):
        net_args, shapes = item.net_args, item.param_shape
        found = RandomWidth(10, size)(item)
        assert item.net_args == net_args and item.param_shape is shapes
        assert (found.net_id, found.num_params) == (item.net_id, item.num_params)
        network = network_from_args(json.loads(found.net_args), 10, size, "meta")
        expected = from_module(network, size)
        assert found.param_shape == expected.param_shape
        assert torch.equal(found.edge_index, expected.edge_index)


def test_drawn_anew_in_every_epoch_and_repeatable():
    graphs, transform = list(items()), RandomWidth()
    torch.manual_seed(1)
    first, second = (widths(map(transform, graphs)) for _ in range(2))
    torch.manual_seed(1)
    assert widths(map(transform, graphs)) == first != second
    assert {C for C, *_ in first} <= set(range(32, 129, 16)) and len({C for C, *_ in first}) > 1

    class Drawn(list):
        def __getitem__(self, i):
            return RandomWidth()(super().__getitem__(i))

    loader = DataLoader(Drawn(items(6)), batch_size=3, num_workers=2)
    epochs = [
        [width for batch in loader for width in widths(batch.to_data_list())] for _ in range(2)
    ]
    assert len(epochs[0]) == 6 and epochs[0] != epochs[1]


def test_items_without_arguments_and_repr():
    for item in (Data(), Data(net_args=json.dumps({"name": "resnet50"}))):
        with pytest.raises(ConfigError, match="needs items of a split of `DeepNets1M`"):
            RandomWidth()(item)
    assert str(RandomWidth()) == "RandomWidth(10, (3, 32, 32))"
