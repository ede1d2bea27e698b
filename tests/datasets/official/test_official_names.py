import pytest

from pyg_ghn.datasets.official_names import parameter_name, primitive

PRIMITIVES = {
    "conv_1x1": "conv",
    "conv_7x1": "conv",
    "conv": "conv",
    "sep_conv_3x3": "sep_conv",
    "dil_conv_5x5": "dil_conv",
    "max_pool_3x3": "max_pool",
    "avg_pool": "avg_pool",
    "glob_avg": "glob_avg",
    "fc-b": "bias",
    "bias": "bias",
    "sum_3x3": "sum_3x3",
    "conv_3x": "conv_3x",
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_lose_their_kernel(name):
    assert primitive(name) == PRIMITIVES[name]


@pytest.mark.parametrize(
    ("op", "name", "full"),
    [
        ("conv", "_ops.1.op.1.weight", "cells.4._ops.1.op.1.weight"),
        ("conv", "_ops.1.1.weight", "cells.4._ops.1.op.1.weight"),
        ("bn", "_ops.12.7.weight", "cells.4._ops.12.op.7.weight"),
        ("bn", "preprocess0.op.2.weight", "cells.4.preprocess0.op.2.weight"),
        ("conv", "preprocess0.conv_2.weight", "cells.4.preprocess0.conv_2.weight"),
        ("conv", "_ops.0.conv_1.weight", "cells.4._ops.0.conv_1.weight"),
        ("conv", "_ops.3.to_qkv.weight", "cells.4._ops.3.attn.to_qkv.weight"),
        ("conv", "_ops.3.attn.to_qkv.weight", "cells.4._ops.3.attn.to_qkv.weight"),
        ("conv", "_ops.3.to_out.0.", "cells.4._ops.3.attn.to_out.0.weight"),
        ("conv", "_ops.3.attn.to_out.0.", "cells.4._ops.3.attn.to_out.0.weight"),
        ("bias", "_ops.3.to_out.0.bias", "cells.4._ops.3.attn.to_out.0.bias"),
        ("conv", "_ops.3.ff.net.0.weight", "cells.4._ops.3.ff.net.0.weight"),
        ("conv", "_ops.2.fc1.weight", "cells.4._ops.2.fc1.weight"),
        ("conv", "cells.4._ops.2.fc1.weight", "cells.4._ops.2.fc1.weight"),
        ("conv", "stem.0.weight", "stem.0.weight"),
        ("conv", "stem0.weight", "stem0.weight"),
        ("bn", "stem1.2.weight", "stem1.2.weight"),
        ("pos_enc", "pos_enc.weight", "pos_enc.weight"),
        ("bias", "classifier.3.bias", "classifier.3.bias"),
        ("sum", "sum", ""),
        ("input", "", ""),
        ("input", "input", ""),
        ("max_pool", "_ops.1.max_pool", ""),
    ],
)
def test_parameter_names_are_completed(op, name, full):
    assert parameter_name(name, 4, op) == full
