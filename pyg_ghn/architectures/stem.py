r"""What comes before the first cell and after the last one."""

import torch
from torch import Tensor, nn

from pyg_ghn.architectures.operations import batch_norm

Device = torch.device | str | None


class PositionEncoding(nn.Module):
    r"""Adds a learned tensor of the size of the image."""

    def __init__(self, channels: int, height: int, width: int, device: Device = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, channels, height, width, device=device))
        self.reset_parameters()

    def reset_parameters(self):
        r"""Draws the weight from the standard normal distribution."""
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


def build_conv(
    in_channels: int, out_channels: int, kernel: int, stride: int, padding: int, device: Device
) -> nn.Conv2d:
    r"""Builds a convolution without bias: alone it is the stem of a ViT."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False, device=device)


def build_simple_stem(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int,
    norm: str | None,
    pool: bool,
    device: Device,
) -> nn.Sequential:
    r"""Builds the stem of one convolution, with a max pooling if :obj:`pool`."""
    return nn.Sequential(
        build_conv(in_channels, channels, kernel, stride, kernel // 2, device),
        batch_norm(channels, norm, device),
        nn.MaxPool2d(3, 2, 1) if pool else nn.Identity(),
    )


def build_stem0(
    in_channels: int, channels: int, kernel: int, stride: int, norm: str | None, device: Device
) -> nn.Sequential:
    r"""Builds the first part of the ImageNet-style stem."""
    return nn.Sequential(
        build_conv(in_channels, channels // 2, kernel, stride, kernel // 2, device),
        batch_norm(channels // 2, norm, device),
        nn.ReLU(),
        build_conv(channels // 2, channels, 3, stride, 1, device),
        batch_norm(channels, norm, device),
    )


def build_stem1(channels: int, norm: str | None, device: Device) -> nn.Sequential:
    r"""Builds the second part of the ImageNet-style stem, which halves the image."""
    return nn.Sequential(
        nn.ReLU(),
        build_conv(channels, channels, 3, 2, 1, device),
        batch_norm(channels, norm, device),
    )


def build_classifier(
    features: int, fc_dim: int, fc_layers: int, num_classes: int, device: Device
) -> nn.Sequential:
    r"""Builds the linear layers, with ReLU and dropout between them."""
    sizes = [features, *[fc_dim] * (fc_layers - 1), num_classes]
    layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1], device=device)]
    for i in range(1, fc_layers):
        hidden = nn.Linear(sizes[i], sizes[i + 1], device=device)
        layers += [nn.ReLU(), nn.Dropout(0.5), hidden]
    return nn.Sequential(*layers)
