r"""The layers of networks: stems, the classifier and the operations of a cell, as in `"DARTS:
Differentiable Architecture Search" <https://arxiv.org/abs/1806.09055>`_ and `"Parameter Prediction
for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_ (appendix A).

:data:`OPERATIONS` maps an operation's name in a genotype to the function that builds it from
:obj:`(in_channels, out_channels, stride, norm, device)`. Only convolutions and a striding
:obj:`skip_connect` can change the number of channels, see :func:`keeps_channels`.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Device = torch.device | str | None
Builder = Callable[[int, int, int, str | None, Device], nn.Module]


def batch_norm(channels: int, norm: str | None, device: Device) -> nn.Module:
    r"""BatchNorm with running statistics only where the norm's name says so (:obj:`"bn-track"`).

    Without a norm the identity stands in its place, so that names of later layers do not shift.
    """
    if norm is None:
        return nn.Identity()
    return nn.BatchNorm2d(channels, track_running_stats="track" in norm, device=device)


def build_conv(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    device: Device,
) -> nn.Conv2d:
    r"""Builds a convolution without bias: alone it is the stem of a ViT."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False, device=device)


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "conv": build_conv,
    "norm": batch_norm,
    "relu": lambda device: nn.ReLU(),
    "max_pool": lambda device: nn.MaxPool2d(3, 2, 1),
    "linear": lambda in_size, out_size, device: nn.Linear(in_size, out_size, device=device),
    "dropout": lambda device: nn.Dropout(0.5),
}
r"""The layers of stems and classifiers."""


def build_layers(layers: tuple[tuple, ...], device: Device) -> nn.Sequential:
    r"""Builds layers in a row, each from :obj:`(key of LAYERS, *arguments)`."""
    return nn.Sequential(*(LAYERS[name](*args, device) for name, *args in layers))


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


class FactorizedReduce(nn.Module):
    r"""Halves the image with two 1x1 convolutions that read the even and the odd pixels."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: str | None = None, device: Device = None
    ):
        super().__init__()
        self.conv_1 = build_conv(in_channels, out_channels // 2, 1, 2, 0, device)
        self.conv_2 = build_conv(in_channels, out_channels // 2, 1, 2, 0, device)
        self.bn = batch_norm(out_channels, norm, device)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class Subsample(nn.Module):
    r"""Keeps every second pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


class SqueezeExcitation(nn.Module):
    r"""Scales channels by a gate computed from their means (:obj:`cse`), from
    `"Squeeze-and-Excitation Networks" <https://arxiv.org/abs/1709.01507>`_, with Hardswish as gate.
    """

    def __init__(self, channels: int, stride: int = 1, device: Device = None):
        super().__init__()
        self.stride = stride
        self.fc1 = nn.Linear(channels, channels // 2, device=device)
        self.fc2 = nn.Linear(channels // 2, channels, device=device)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.hardswish(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return x * gate[:, :, None, None]


class SelfAttention(nn.Module):
    r"""Multi-head self-attention over tokens of size :obj:`channels`."""

    def __init__(self, channels: int, heads: int = 8, device: Device = None):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False, device=device)
        self.to_out = nn.Sequential(nn.Linear(channels, channels, device=device))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(out.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    r"""Pre-norm transformer layer over the pixels (:obj:`msa`), 8 heads, MLP ratio 1.

    In a network it never strides: an :obj:`msa` makes it a ViT, which keeps its grid.
    """

    def __init__(self, channels: int, stride: int = 1, device: Device = None):
        super().__init__()
        self.stride = stride
        self.ln1 = nn.LayerNorm(channels, device=device)
        self.attn = SelfAttention(channels, device=device)
        self.ln2 = nn.LayerNorm(channels, device=device)
        layers = [
            nn.Linear(channels, channels, device=device),
            nn.GELU(),
            nn.Identity(),  # a dropout of zero in the authors' code
            nn.Linear(channels, channels, device=device),
        ]
        self.ff = nn.Sequential(OrderedDict(net=nn.Sequential(*layers)))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.ln1(tokens))
        tokens = tokens + self.ff(self.ln2(tokens))
        x = tokens.transpose(1, 2).reshape(x.shape)
        return x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x


def _conv(kernel, in_channels, out_channels, stride, device):
    return [build_conv(in_channels, out_channels, kernel, stride, kernel // 2, device)]


def _conv_1d_pair(kernel, in_channels, out_channels, stride, device):
    row, column, pad = (1, kernel), (kernel, 1), kernel // 2
    return [
        build_conv(in_channels, in_channels, row, (1, stride), (0, pad), device),
        build_conv(in_channels, out_channels, column, (stride, 1), (pad, 0), device),
    ]


def _depthwise(kernel, dilation, in_channels, out_channels, stride, device):
    depthwise = nn.Conv2d(
        in_channels,
        in_channels,
        kernel,
        stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=in_channels,
        bias=False,
        device=device,
    )
    return [depthwise, build_conv(in_channels, out_channels, 1, 1, 0, device)]


def _convolution(convs: Callable[..., list[nn.Module]], repeats: int = 1) -> Builder:
    # ReLU, convolutions without bias, norm: once, or several times with the stride first.

    def build(in_channels, out_channels, stride, norm, device):
        layers = []
        for i in range(repeats):
            channels = out_channels if i == repeats - 1 else in_channels
            layers += [
                nn.ReLU(),
                *convs(in_channels, channels, stride if i == 0 else 1, device),
                batch_norm(channels, norm, device),
            ]
        return nn.Sequential(OrderedDict(op=nn.Sequential(*layers)))

    return build


def _keeping(build: Callable[[int, int, Device], nn.Module]) -> Builder:
    # An operation that gives as many channels as it takes.
    return lambda channels, _, stride, norm, device: build(channels, stride, device)


OPERATIONS: dict[str, Builder] = {
    "none": _keeping(lambda channels, stride, device: nn.Identity()),  # never run
    "max_pool_3x3": _keeping(lambda channels, stride, device: nn.MaxPool2d(3, stride, 1)),
    "avg_pool_3x3": _keeping(
        lambda channels, stride, device: nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    ),
    "skip_connect": lambda in_channels, out_channels, stride, norm, device: (
        FactorizedReduce(in_channels, out_channels, norm, device) if stride > 1 else nn.Identity()
    ),
    "sep_conv_3x3": _convolution(partial(_depthwise, 3, 1), repeats=2),
    "sep_conv_5x5": _convolution(partial(_depthwise, 5, 1), repeats=2),
    "dil_conv_3x3": _convolution(partial(_depthwise, 3, 2)),
    "dil_conv_5x5": _convolution(partial(_depthwise, 5, 2)),
    "conv_1x1": _convolution(partial(_conv, 1)),
    "conv_7x1_1x7": _convolution(partial(_conv_1d_pair, 7)),
    "conv_3x3": _convolution(partial(_conv, 3)),
    "conv_5x5": _convolution(partial(_conv, 5)),
    "conv_7x7": _convolution(partial(_conv, 7)),
    "msa": _keeping(TransformerLayer),
    "cse": _keeping(SqueezeExcitation),
}
r"""Operation name -> builder. The first four have no parameters (:obj:`skip_connect` as far as it
does not stride); the order is that of the generator's scores."""


def keeps_channels(name: str, stride: int) -> bool:
    r"""Whether the operation can only give as many channels as it takes."""
    return "conv" not in name and (name != "skip_connect" or stride == 1)


def build_operation(
    name: str, in_channels: int, out_channels: int, stride: int, norm: str | None, device: Device
) -> nn.Module:
    r"""Builds the operation :obj:`name` of a genotype."""
    return OPERATIONS[name](in_channels, out_channels, stride, norm, device)


def build_preprocess(
    in_channels: int, out_channels: int, halve: bool, norm: str | None, device: Device
) -> nn.Module:
    r"""Builds the layer that brings a cell's input to the cell's channels (and size)."""
    if halve:
        return FactorizedReduce(in_channels, out_channels, norm, device)
    return OPERATIONS["conv_1x1"](in_channels, out_channels, 1, norm, device)


def build_passage(halve: bool, device: Device) -> nn.Module:
    r"""Builds what replaces :func:`build_preprocess` in a network without preprocessing."""
    return Subsample() if halve else nn.Identity()
