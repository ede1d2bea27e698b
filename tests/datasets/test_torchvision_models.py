import json

import pytest
import torch
from torch_geometric.loader import DataLoader
from torchvision import models

from pyg_ghn.datasets import TorchvisionModels
from pyg_ghn.errors import ArchitectureError, DatasetError
from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.nn import GHN3


def test_names_and_images_that_a_model_cannot_see():
    assert TorchvisionModels().names == models.list_models(module=models)
    paper = TorchvisionModels("paper")
    assert len(paper) == len(set(paper.names)) == 74
    assert set(paper.names) < set(TorchvisionModels().names)
    assert TorchvisionModels(["vgg11", "alexnet"]).names == ["vgg11", "alexnet"]
    assert TorchvisionModels("paper")[3:6].names == paper.names[3:6]
    assert TorchvisionModels("resnet18").names == ["resnet18"]
    with pytest.raises(DatasetError, match="no classification models resnet19, fcn_resnet50"):
        TorchvisionModels(["resnet19", "alexnet", "fcn_resnet50"])
    dataset = TorchvisionModels(["vit_b_16"], input_size=(3, 32, 48))
    with pytest.raises(ArchitectureError, match="square"):
        dataset[0]


NAMES = ["resnet18", "regnet_y_400mf", "inception_v3", "vit_b_32"]


def test_items_are_the_graphs_of_the_models(golden, assert_same_graph):
    dataset = TorchvisionModels(NAMES)
    for i, (name, item) in enumerate(zip(NAMES, dataset, strict=True)):
        network = dataset.network(i)
        assert all(tensor.is_meta for tensor in network.state_dict().values())
        assert_same_graph(item, from_module(network))
        assert item.num_params["imagenet"] == sum(p.numel() for p in network.parameters())
        assert item.name == json.loads(item.net_args)["name"] == name and item.net_id == i
        if name != "inception_v3":  # whose reference graph has auxiliary heads
            ops = [op for op, *_ in golden(f"torchvision/{name}")["nodes"]]
            assert sorted(PRIMITIVES[op] for op in item.x.flatten().tolist()) == sorted(ops)


def test_batch_and_small_images():
    ghn = GHN3(32, 1, 4, (8, 8, 3, 3), num_classes=10)
    names = ["resnet18", "squeezenet1_1"]
    dataset = TorchvisionModels(names, ghn.transform, input_size=(3, 32, 32))
    assert dataset.num_classes == 10
    (batch,) = DataLoader(dataset[[1, 0]], batch_size=2)
    assert batch.name == names[::-1]
    for item, params in zip((1, 0), ghn(batch), strict=True):
        network = dataset.network(item, device="cpu")
        assert {name: p.shape for name, p in params.items()} == {
            name: p.shape for name, p in network.named_parameters() if name in params
        }
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    again = dataset[0]
    assert "spd" in again and "spd" not in TorchvisionModels(names)[0]
