"""Predicts the parameters of a network of one's own and classifies digits with them.

The network stays a skeleton on the meta device: `functional_call` runs it with the predicted
parameters, so nothing is ever initialized, and gradients reach the GHN.
"""

import torch
from torch import nn
from torch.func import functional_call

import pyg_ghn
from pyg_ghn.images import get_image_data


class Branches(nn.Module):
    """Two branches, a shared layer and a dictionary as output: nothing that a GHN minds."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), norm(32), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), norm(32), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(32, 32, 5, padding=2, bias=False), norm(32), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(64, 32, 1, bias=False), norm(32), nn.ReLU())
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(2):
            x = self.mix(torch.cat([self.left(x), self.right(x)], dim=1))
        features = x.mean(dim=(2, 3))
        return {"logits": self.classifier(features), "features": features}


def norm(channels: int) -> nn.Module:
    # Predicted networks have no running statistics: batch statistics, as in meta-training.
    return nn.BatchNorm2d(channels, track_running_stats=False)


if __name__ == "__main__":
    ghn = pyg_ghn.from_pretrained("ghn3-digits")
    with torch.device("meta"):
        model = Branches()
    params = ghn.predict(model, input_size=(3, 8, 8))
    digits = get_image_data("digits")
    correct = 0
    for images, labels in digits.test.batches(64):
        logits = functional_call(model, params, (images,))["logits"]
        correct += (logits.argmax(dim=1) == labels).sum().item()
    print(f"{len(params)} parameters predicted, {100 * correct / len(digits.test):.1f} % of the")
    print(f"{len(digits.test)} held-out digits classified, by a network that was never trained.")
