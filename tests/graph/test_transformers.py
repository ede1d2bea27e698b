"""Models of Hugging Face's transformers, from small configurations, have complete graphs."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from pyg_ghn.graph import from_module  # noqa: E402

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT |= {"intermediate_size": 64, "image_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 32}
STAGES = {"depths": [1, 1], "hidden_sizes": [16, 32], "num_stages": 2}
RESIDUAL = {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16, "groups_width": 8}
TOKENS = {"cls_token", "mask_token", "class_embedding"}


# A model, its configuration, and what may have no node in it beside learned tokens.
CASES = [
    ("ViTForImageClassification", VIT, ""),
    ("DeiTForImageClassificationWithTeacher", VIT, "distillation_token"),
    ("BeitForImageClassification", VIT, "lambda_1 lambda_2"),
    (
        "Data2VecVisionForImageClassification",
        {**VIT, "use_relative_position_bias": True},
        "lambda_1 lambda_2 relative_position_bias_table",
    ),
    ("ViTMAEModel", VIT, ""),
    ("Dinov2ForImageClassification", VIT, "lambda1"),
    ("CLIPVisionModel", VIT, ""),
    ("SiglipVisionModel", VIT, "probe"),
    ("SwinForImageClassification", SWIN, "relative_position_bias_table"),
    ("Swinv2ForImageClassification", SWIN, "logit_scale"),
    ("ConvNextForImageClassification", STAGES, "layer_scale_parameter"),
    ("ConvNextV2ForImageClassification", STAGES, "weight bias"),  # of global response normalization
    ("ResNetForImageClassification", RESIDUAL, ""),
    ("RegNetForImageClassification", RESIDUAL, ""),
    ("MobileViTForImageClassification", {}, ""),
    ("SegformerForSemanticSegmentation", {}, ""),
    ("PoolFormerForImageClassification", {}, "layer_scale_1 layer_scale_2"),
    ("CvtForImageClassification", {}, ""),
    ("LevitForImageClassification", {}, "attention_biases"),
    ("PvtForImageClassification", {}, ""),
    ("HieraForImageClassification", {}, ""),
]


@pytest.fixture
def build(models_on_meta):
    def make(name, config, **options):
        cls = getattr(transformers, name)
        with models_on_meta():
            return cls(cls.config_class(**config, **options)).eval()

    return make


@pytest.mark.parametrize("name, config, unsupported", CASES, ids=[name for name, *_ in CASES])
def test_complete_graph(name, config, unsupported, build, complete):
    data = complete(build(name, config))
    assert {name.rsplit(".", 1)[-1] for name in data.unsupported} - TOKENS == {*unsupported.split()}


@pytest.mark.parametrize("name", ["ViTForImageClassification", "BeitForImageClassification"])
def test_fused_and_written_out_attention_have_one_graph(name, build, nodes_of, same_graph):
    config = {**VIT, "use_relative_position_bias": True}
    fused, written = (
        from_module(build(name, config, attn_implementation=kind)) for kind in ("sdpa", "eager")
    )
    assert "msa" in [op for op, _, _ in nodes_of(fused)]
    assert same_graph(fused, written)


def test_image_and_text_and_a_forward_that_installs_hooks_once(build, complete):
    text = {**VIT, "vocab_size": 20, "max_position_embeddings": 8}
    model = build("CLIPModel", {"text_config": text, "vision_config": VIT, "projection_dim": 16})
    ids, images = torch.ones(2, 5, dtype=torch.long), torch.ones(2, 3, 32, 32)
    data = complete(model, example_inputs={"input_ids": ids, "pixel_values": images})
    assert data.unsupported == ["logit_scale", "vision_model.embeddings.class_embedding"]
    model = build("SegformerForSemanticSegmentation", {})
    first, second = from_module(model), from_module(model)
    assert first.param_name == second.param_name
