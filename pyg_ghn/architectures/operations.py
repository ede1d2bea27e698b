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


def build_depthwise(
    dilation: int, channels: int, kernel: int, stride: int, device: Device
) -> nn.Conv2d:
    """Builds a convolution of each channel by itself, without bias."""
    padding = dilation * (kernel // 2)
    sizes = (channels, channels, kernel, stride, padding, dilation)
    return nn.Conv2d(*sizes, groups=channels, bias=False, device=device)


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "conv": build_conv,
    "sep_conv": partial(build_depthwise, 1),
    "dil_conv": partial(build_depthwise, 2),
    "norm": batch_norm,
    "relu": lambda device: nn.ReLU(),
    "max_pool": lambda device: nn.MaxPool2d(3, 2, 1),
    "linear": lambda in_size, out_size, device: nn.Linear(in_size, out_size, device=device),
    "dropout": lambda device: nn.Dropout(0.5),
}


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


def convolution_layers(
    name: str, in_channels: int, channels: int, stride: int, norm: str | None
) -> tuple[tuple, ...]:
    r"""The layers of a convolution of a genotype, for :func:`build_layers`: ReLU, convolutions
    without bias, norm; twice in a :obj:`sep_conv`, with the stride first."""
    kind, kernel = name.rpartition("conv_")[0], int(name[-1])
    to_channels, end = ("conv", in_channels, channels, 1, 1, 0), ("norm", channels, norm)
    if kind == "sep_":
        layers = ("relu",), ("sep_conv", in_channels, kernel, stride)
        layers += ("conv", in_channels, in_channels, 1, 1, 0), ("norm", in_channels, norm)
        return *layers, ("relu",), ("sep_conv", in_channels, kernel, 1), to_channels, end
    if kind == "dil_":
        return ("relu",), ("dil_conv", in_channels, kernel, stride), to_channels, end
    if name == "conv_7x1_1x7":
        row = ("conv", in_channels, in_channels, (1, 7), (1, stride), (0, 3))
        return ("relu",), row, ("conv", in_channels, channels, (7, 1), (stride, 1), (3, 0)), end
    return ("relu",), ("conv", in_channels, channels, kernel, stride, kernel // 2), end


def _convolution(name: str) -> Builder:
    def build(in_channels, channels, stride, norm, device):
        layers = convolution_layers(name, in_channels, channels, stride, norm)
        return nn.Sequential(OrderedDict(op=build_layers(layers, device)))

    return build


def _keeping(build: Callable[[int, int, Device], nn.Module]) -> Builder:
    # An operation that gives as many channels as it takes.
    return lambda channels, _, stride, norm, device: build(channels, stride, device)


_CONVOLUTIONS = (
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    *("conv_1x1", "conv_7x1_1x7", "conv_3x3", "conv_5x5", "conv_7x7"),
)
OPERATIONS: dict[str, Builder] = {
    "none": _keeping(lambda channels, stride, device: nn.Identity()),  # never run
    "max_pool_3x3": _keeping(lambda channels, stride, device: nn.MaxPool2d(3, stride, 1)),
    "avg_pool_3x3": _keeping(
        lambda channels, stride, device: nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    ),
    "skip_connect": lambda in_channels, out_channels, stride, norm, device: (
        FactorizedReduce(in_channels, out_channels, norm, device) if stride > 1 else nn.Identity()
    ),
    **{name: _convolution(name) for name in _CONVOLUTIONS},
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
    return OPERATIONS[name](in_channels, out_channels, stride, norm, device)


def build_passage(halve: bool, device: Device) -> nn.Module:
    r"""Builds what a cell's input goes through in a network without preprocessing."""
    return Subsample() if halve else nn.Identity()
