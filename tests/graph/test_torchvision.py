"""Every classification model of the installed torchvision has a sane and complete graph."""

import pytest
import torchvision

NAMES = torchvision.models.list_models(module=torchvision.models)

# What has no node in them, by reason.
LEFT = {
    "used by no supported operation (cat)": {"class_token"},
    "used by no supported operation (mul)": {"layer_scale", "logit_scale"},
    "a table of which entries are looked up by index": {"relative_position_bias_table"},
}

# Networks of the paper that have no golden graph, by one of the same blocks that has.
_SIBLINGS = {
    "convnext_tiny": "convnext_base convnext_large convnext_small",
    "densenet121": "densenet161 densenet169 densenet201",
    "efficientnet_b0": " ".join(f"efficientnet_b{n}" for n in range(1, 8)),
    "efficientnet_v2_s": "efficientnet_v2_m efficientnet_v2_l",
    "mnasnet0_5": "mnasnet0_75 mnasnet1_0 mnasnet1_3",
    "mobilenet_v3_small": "mobilenet_v3_large",
    "regnet_x_400mf": """
        regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
    """,
    "regnet_y_400mf": """
        regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf
    """,
    "resnet18": "resnet34",
    "resnet50": "resnet101 resnet152",
    "resnext50_32x4d": "resnext101_32x8d resnext101_64x4d",
    "shufflenet_v2_x0_5": "shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0",
    "swin_t": "swin_s swin_b",
    "vgg11": "vgg13 vgg16 vgg19",
    "vgg11_bn": "vgg13_bn vgg16_bn vgg19_bn",
    "vit_b_16": "vit_l_16 vit_l_32",
    "wide_resnet50_2": "wide_resnet101_2",
}
SIBLINGS = {name: golden for golden, names in _SIBLINGS.items() for name in names.split()}

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
    for reason, names in left(data).items():
        assert names <= LEFT[reason]
    ops, params, _ = zip(*nodes_of(data), strict=True)
    assert params[-1] == list(dict(model.named_parameters()))[-1]
    if name in SIBLINGS:
        expected = golden(f"torchvision/{SIBLINGS[name]}")
        known = steps([op for op, _, _ in expected["nodes"]], expected["edges"])
        known |= REPEATED.get(SIBLINGS[name], set())
        assert steps(ops, data.edge_index.t().tolist()) <= known


def steps(ops, edges):
    """Every kind of node together with the kinds that it takes its input from."""
    preds = [[] for _ in ops]
    for before, after in edges:
        preds[after].append(ops[before])
    return {(op, *sorted(set(of_node))) for op, of_node in zip(ops, preds, strict=True)}
