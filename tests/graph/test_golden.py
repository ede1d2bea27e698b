"""The graphs of torchvision models are those that the released GHNs were trained on."""

import networkx as nx
import pytest
import torch
import torchvision

from pyg_ghn.graph import from_module

NAMES = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50
resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 squeezenet1_1 swin_t vgg11 vgg11_bn vit_b_16
vit_b_32 wide_resnet50_2
""".split()


def build(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    device = "cpu" if name.startswith("regnet") else "meta"  # RegNet can't be built on meta
    with torch.device(device):
        return torchvision.models.get_model(name, weights=None, **options)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_torchvision_graph(name, golden, as_networkx, nodes_of):
    expected = golden(f"torchvision/{name}")
    model = build(name).train(expected["mode"] == "train")
    unsupported = from_module(model, expected["input_size"]).unsupported
    assert set(unsupported) == set(expected["unpredicted"])
    assert_same_graph(model, expected, expected["input_size"], as_networkx, nodes_of)
    if "eval" in expected:
        model.eval()
        assert_same_graph(model, expected["eval"], expected["input_size"], as_networkx, nodes_of)


def assert_same_graph(model, expected, input_size, as_networkx, nodes_of):
    data = from_module(model, input_size)
    ours = as_networkx(nodes_of(data), data.edge_index.t().tolist())
    theirs = as_networkx(expected["nodes"], expected["edges"])
    assert nx.is_isomorphic(ours, theirs, node_match=lambda a, b: a["label"] == b["label"])
    assert (data.edge_index[0] < data.edge_index[1]).all()  # topological order


def test_pooling_carries_its_kernel(nodes_of):
    shapes = [shape for op, _, shape in nodes_of(from_module(build("resnet18"))) if "pool" in op]
    assert shapes == [(1, 1, 3, 3)]
