"""Architectures of timm, one for each of its ways to use weights, have complete graphs."""

import pytest

timm = pytest.importorskip("timm")

FACTOR = "a factor of a parametrized weight"
LARGE = "more than four dimensions"
TABLE = "a table of which entries are looked up by index"


def unused(*operations):
    return f"used by no supported operation ({', '.join(operations)})"


SCALE = {unused("mul"): {"gamma"}}
TOKEN = {unused("cat"): {"cls_token"}}
LSTM = {f"{kind}_{end}" for kind in ("weight", "bias") for end in ("ih_l0", "hh_l0")}

# Of halonet26t whole tables of relative positions are factors of a product, a coatnet_rmlp has a
# position bias from an MLP on coordinates, tf_efficientnet_cc_b0_4e mixes kernels from experts.
COMPLETE = """
test_resnet test_byobnet test_efficientnet coatnet_rmlp_nano_rw_224 ghostnet_050 halonet26t
hiera_tiny_224 mixer_s32_224 mobilevit_xxs resnest14d resnet50_clip_gap skresnet18
tf_efficientnet_cc_b0_4e vit_relpos_base_patch32_plus_rpn_256
""".split()

# What has no node, by reason.
LEFT = {
    **{name: {} for name in COMPLETE},
    **dict.fromkeys(["test_vit", "volo_d1_224"], TOKEN),
    **dict.fromkeys(["test_convnext", "test_mambaout", "fastvit_t8"], SCALE),
    "test_nfnet": {FACTOR: {"gain"}},  # standardized weights
    "beit_base_patch16_224": {  # a bias of three parts, two of them parameters
        **TOKEN,
        unused("mul"): {"gamma_1", "gamma_2"},
        TABLE: {"relative_position_bias_table"},
    },
    "cait_xxs24_224": {  # talking heads
        unused("mul"): {"gamma_1", "gamma_2"},
        unused("cat", "add"): {"cls_token"},
    },
    "convit_tiny": {**TOKEN, unused("mul"): {"gating_param"}},
    "crossvit_tiny_240": {unused("cat"): {"cls_token_0", "cls_token_1"}},
    "efficientformerv2_s0": {**SCALE, TABLE: {"attention_biases"}},
    "lambda_resnet26t": {LARGE: {"weight"}},
    "levit_128s": {TABLE: {"attention_biases"}},
    "mvitv2_tiny": {TABLE: {"rel_pos_h", "rel_pos_w"}},
    "resmlp_12_224": {unused("addcmul"): {"alpha", "beta"}, unused("mul"): {"ls1", "ls2"}},
    "sequencer2d_s": {unused("lstm"): LSTM | {f"{name}_reverse" for name in LSTM}},
    "swinv2_cr_tiny_224": {unused("mul"): {"logit_scale"}},
    "xcit_nano_12_p8_224": {**TOKEN, unused("mul"): {"gamma1", "gamma2", "gamma3", "temperature"}},
}


@pytest.mark.parametrize("name", LEFT)
def test_complete_graph(name, models_on_meta, complete, left):
    with models_on_meta():
        model = timm.create_model(name, pretrained=False)
    assert left(complete(model)) == LEFT[name]


def test_a_learned_query_has_its_layers(models_on_meta, complete, nodes_of):
    with models_on_meta():
        model = timm.create_model("vit_base_patch16_siglip_224", depth=1, pretrained=False)
    data = complete(model)
    (query,) = [i for i, name in enumerate(data.param_name) if name == "attn_pool.q.weight"]
    assert [0, query] in data.edge_index.t().tolist()
    assert data.unsupported == ["attn_pool.latent"]
