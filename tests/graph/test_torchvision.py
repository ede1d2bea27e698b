"""Every classification model of the installed torchvision has a sane and complete graph."""

import re

import pytest
import torchvision

from pyg_ghn.graph import from_module

NAMES = torchvision.models.list_models(module=torchvision.models)
GOLDEN = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50
resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 squeezenet1_1 swin_t vgg11 vgg11_bn vit_b_16
vit_b_32 wide_resnet50_2
""".split()

# What has no node in them, by reason.
LEFT = {
    "used by no supported operation (cat)": {"class_token"},
    "used by no supported operation (mul)": {"layer_scale", "logit_scale"},
    "a table of which entries are looked up by index": {"relative_position_bias_table"},
}

SIBLINGS = """
convnext_tiny: convnext_.*     densenet121: densenet.*      efficientnet_b0: efficientnet_b.*
mnasnet0_5: mnasnet.*          resnet18: resnet34           efficientnet_v2_s: efficientnet_v2_.*
regnet_x_400mf: regnet_x_.*    regnet_y_400mf: regnet_y_.*  mobilenet_v3_small: mobilenet_v3_.*
resnet50: resnet1..            resnext50_32x4d: resnext.*   shufflenet_v2_x0_5: shufflenet.*
vgg11: vgg..                   vgg11_bn: vgg.._bn           wide_resnet50_2: wide_resnet.*
swin_t: swin_[sb]              vit_b_16: vit_.*
"""
SIBLINGS = dict(re.findall(r"(\w+): (\S+)", SIBLINGS))

# The larger ones repeat the block without expansion, which efficientnet_b0 has once.
REPEATED = {"efficientnet_b0": {("sep_conv", "sum")}}


@pytest.fixture
def build(models_on_meta):
    def make(name):
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with models_on_meta():
            return torchvision.models.get_model(name, weights=None, **options)

    return make


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_every_model(name, build, complete, left, nodes_of, same_graph, golden):
    model = build(name)
    data = complete(model)
    assert all(names <= LEFT[reason] for reason, names in left(data).items())
    ops, params, _ = zip(*nodes_of(data), strict=True)
    assert params[-1] == list(dict(model.named_parameters()))[-1]
    if name in GOLDEN:  # the graph that the released GHNs were trained on
        expected = golden(f"torchvision/{name}")
        assert {*data.unsupported} == {*expected["unpredicted"]}
        assert same_graph(data, expected)
        if "eval" in expected:
            assert same_graph(complete(model.eval()), expected["eval"])
    for sibling, names in SIBLINGS.items():
        if re.fullmatch(names, name):
            expected = golden(f"torchvision/{sibling}")
            known = steps([op for op, _, _ in expected["nodes"]], expected["edges"])
            known |= REPEATED.get(sibling, set())
            assert steps(ops, data.edge_index.t().tolist()) <= known


def steps(ops, edges):
    """Every kind of node together with the kinds that it takes its input from."""
    preds = [[] for _ in ops]
    for before, after in edges:
        preds[after].append(ops[before])
    return {(op, *sorted(set(of_node))) for op, of_node in zip(ops, preds, strict=True)}


def test_pooling_carries_its_kernel(build, nodes_of):
    shapes = [shape for op, _, shape in nodes_of(from_module(build("resnet18"))) if "pool" in op]
    assert shapes == [(1, 1, 3, 3)]
