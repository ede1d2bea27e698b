"""What all layers have in common: they are reset and say what they are."""

from functools import partial

import pytest
from torch import nn
from torch_geometric.nn import LayerNorm

from pyg_ghn.nn import (
    CentralityEncoding,
    GatedDAGConv,
    GHN3Conv,
    ParameterDecoder,
    ShapeEncoding,
    ShortestPathBias,
)

LAYERS = {
    "CentralityEncoding(64)": partial(CentralityEncoding, 64),
    "ShapeEncoding(64, kernel_size=16, num_classes=1000)": partial(ShapeEncoding, 64),
    "ShortestPathBias(64, heads=2, cutoff=50)": partial(ShortestPathBias, 2, 64),
    "GHN3Conv(16, heads=4)": partial(GHN3Conv, 16, heads=4),
    "GHN3Conv(16, heads=2)": partial(GHN3Conv, 16, heads=2, act="prelu"),
    "GatedDAGConv(6, virtual_edges=True)": partial(GatedDAGConv, 6),
    "GatedDAGConv(6, virtual_edges=False)": partial(GatedDAGConv, 6, virtual_edges=False),
    "ParameterDecoder(4, max_shape=(4, 4, 7, 7), num_classes=10)": partial(
        ParameterDecoder, 4, (4, 4, 7, 7), 10
    ),
}


@pytest.mark.parametrize("text", LAYERS)
def test_reset_and_repr(text):
    layer = LAYERS[text]()
    assert str(layer) == text
    for param in layer.parameters():
        nn.init.constant_(param, 7)
    layer.reset_parameters()
    assert [name for name, param in layer.named_parameters() if (param == 7).any()] == []
    for module in layer.modules():
        if isinstance(module, nn.LayerNorm | LayerNorm):
            assert (module.weight == 1).all()
        elif isinstance(module, nn.Embedding) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
