import pytest
import torch
from torch import nn

from pyg_ghn.evaluation import generalization
from pyg_ghn.images import ImageData, ImageSplit


class FakeGHN(nn.Module):
    """Predicts a constant for every parameter that has a node, or none at all."""

    def __init__(self, value=None):
        super().__init__()
        self.value = None if value is None else nn.Parameter(torch.tensor(float(value)))
        self.anchor = nn.Parameter(torch.zeros(()))
        self.config = {"hidden_channels": 8, "max_shape": (8, 8, 3, 3)}
        self.num_classes = 3
        self.seen = []

    @torch.no_grad()
    def predict_graph(self, data):
        assert not self.training
        self.seen.append(data.num_nodes)
        if self.value is None:
            return {}
        return {
            name: self.value.expand(shape)
            for name, shape in zip(data.param_name, data.param_shape, strict=True)
            if name is not None
        }


@pytest.fixture
def fake_ghn(monkeypatch):
    """Without calibration, as it predicts nothing of what is not there."""
    monkeypatch.setattr(generalization, "missing_norms", lambda *args: [])
    return FakeGHN


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)

    def split(count):
        pixels = torch.randint(256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
        return ImageSplit(pixels, torch.arange(count) % 3, torch.tensor([0.5]), torch.tensor([0.3]))

    return ImageData("noise", split(12), split(9), split(30), ("a", "b", "c"))
