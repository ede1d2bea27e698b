"""Every classification model of the installed torchvision has a sane and complete graph."""

import re

import pytest
import torchvision

NAMES = torchvision.models.list_models(module=torchvision.models)

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
def test_every_model_has_a_complete_graph(name, build, complete, left, nodes_of, golden):
    model = build(name)
    data = complete(model)
    assert all(names <= LEFT[reason] for reason, names in left(data).items())
    ops, params, _ = zip(*nodes_of(data), strict=True)
    assert params[-1] == list(dict(model.named_parameters()))[-1]
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
