r"""The operations of a cell, as in `"DARTS: Differentiable Architecture Search"
<https://arxiv.org/abs/1806.09055>`_ and `"Parameter Prediction for Unseen Deep Architectures"
<https://arxiv.org/abs/2110.13100>`_ (appendix A).

:data:`OPERATIONS` maps an operation's name in a genotype to the function that builds it from
:obj:`(in_channels, out_channels, stride, norm, device)`. Only convolutions and a striding
:obj:`skip_connect` can change the number of channels, see :func:`keeps_channels`.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def batch_norm(channels: int, norm: str | None, device: torch.device | str | None) -> nn.Module:
    r"""BatchNorm with running statistics only where the norm's name says so (:obj:`"bn-track"`).

    Without a norm the identity stands in its place, so that names of later layers do not shift.
    """
    if norm is None:
        return nn.Identity()
    return nn.BatchNorm2d(channels, track_running_stats="track" in norm, device=device)


class ReLUConvNorm(nn.Module):
    r"""ReLU, convolutions without bias, norm: once, or :obj:`repeats` times with the stride first.

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample.
        convs (callable): Returns the convolutions between ReLU and norm, given
            :obj:`(in_channels, out_channels, stride, device)`.
        stride (int, optional): Stride of the first repetition. (default: :obj:`1`)
        norm (str, optional): See :func:`batch_norm`. (default: :obj:`None`)
        repeats (int, optional): How often all this is done. (default: :obj:`1`)
        device (optional): Where the parameters live.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convs: Callable[..., list[nn.Module]],
        stride: int = 1,
        norm: str | None = None,
        repeats: int = 1,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(repeats):
            channels = out_channels if i == repeats - 1 else in_channels
            layers += [
                nn.ReLU(),
                *convs(in_channels, channels, stride if i == 0 else 1, device),
                batch_norm(channels, norm, device),
            ]
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class FactorizedReduce(nn.Module):
    r"""Halves the image with two 1x1 convolutions that read the even and the odd pixels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: str | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        half = partial(nn.Conv2d, in_channels, out_channels // 2, 1, 2, bias=False, device=device)
        self.conv_1 = half()
        self.conv_2 = half()
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

    def __init__(self, channels: int, stride: int = 1, device: torch.device | str | None = None):
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

    def __init__(self, channels: int, heads: int = 8, device: torch.device | str | None = None):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False, device=device)
        self.to_out = nn.Sequential(nn.Linear(channels, channels, device=device))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    r"""Two linear layers with GELU between; the identity stands for a dropout of zero."""

    def __init__(self, channels: int, device: torch.device | str | None = None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(channels, channels, device=device),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(channels, channels, device=device),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerLayer(nn.Module):
    r"""Pre-norm transformer layer over the pixels (:obj:`msa`), 8 heads, MLP ratio 1.

    In a network it never strides: an :obj:`msa` makes it a ViT, which keeps its grid.
    """

    def __init__(self, channels: int, stride: int = 1, device: torch.device | str | None = None):
        super().__init__()
        self.stride = stride
        self.ln1 = nn.LayerNorm(channels, device=device)
        self.attn = SelfAttention(channels, device=device)
        self.ln2 = nn.LayerNorm(channels, device=device)
        self.ff = FeedForward(channels, device=device)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.ln1(tokens))
        tokens = tokens + self.ff(self.ln2(tokens))
        x = tokens.transpose(1, 2).reshape(x.shape)
        return x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x


def _conv(kernel, in_channels, out_channels, stride, device):
    layer = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, bias=False, device=device
    )
    return [layer]


def _conv_1d_pair(kernel, in_channels, out_channels, stride, device):
    pad = kernel // 2
    row = {"stride": (1, stride), "padding": (0, pad), "bias": False, "device": device}
    column = {"stride": (stride, 1), "padding": (pad, 0), "bias": False, "device": device}
    return [
        nn.Conv2d(in_channels, in_channels, (1, kernel), **row),
        nn.Conv2d(in_channels, out_channels, (kernel, 1), **column),
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
    return [depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False, device=device)]


def _convolution(convs, repeats, in_channels, out_channels, stride, norm, device):
    return ReLUConvNorm(in_channels, out_channels, convs, stride, norm, repeats, device)


def _skip(in_channels, out_channels, stride, norm, device):
    if stride > 1:
        return FactorizedReduce(in_channels, out_channels, norm, device)
    return nn.Identity()


def _keeping(build):
    # An operation that gives as many channels as it takes, from (channels, stride, device)
    return lambda in_channels, out_channels, stride, norm, device: build(
        in_channels, stride, device
    )


def _full(kernel: int):
    return partial(_convolution, partial(_conv, kernel), 1)


def _separable(kernel: int, dilation: int, repeats: int):
    return partial(_convolution, partial(_depthwise, kernel, dilation), repeats)


Builder = Callable[[int, int, int, str | None, torch.device | str | None], nn.Module]

OPERATIONS: dict[str, Builder] = {
    "none": _keeping(lambda channels, stride, device: nn.Identity()),  # never run
    "max_pool_3x3": _keeping(lambda channels, stride, device: nn.MaxPool2d(3, stride, 1)),
    "avg_pool_3x3": _keeping(
        lambda channels, stride, device: nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    ),
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3, dilation=1, repeats=2),
    "sep_conv_5x5": _separable(5, dilation=1, repeats=2),
    "dil_conv_3x3": _separable(3, dilation=2, repeats=1),
    "dil_conv_5x5": _separable(5, dilation=2, repeats=1),
    "conv_1x1": _full(1),
    "conv_7x1_1x7": partial(_convolution, partial(_conv_1d_pair, 7), 1),
    "conv_3x3": _full(3),
    "conv_5x5": _full(5),
    "conv_7x7": _full(7),
    "msa": _keeping(TransformerLayer),
    "cse": _keeping(SqueezeExcitation),
}
r"""Operation name -> builder. The first four have no parameters (:obj:`skip_connect` as far as it
does not stride); the order is that of the generator's scores."""


def keeps_channels(name: str, stride: int) -> bool:
    r"""Whether the operation can only give as many channels as it takes."""
    return "conv" not in name and (name != "skip_connect" or stride == 1)


def build_operation(
    name: str,
    in_channels: int,
    out_channels: int,
    stride: int,
    norm: str | None,
    device: torch.device | str | None,
) -> nn.Module:
    r"""Builds the operation :obj:`name` of a genotype."""
    return OPERATIONS[name](in_channels, out_channels, stride, norm, device)


def build_preprocess(
    in_channels: int,
    out_channels: int,
    halve: bool,
    norm: str | None,
    device: torch.device | str | None,
) -> nn.Module:
    r"""Builds the layer that brings a cell's input to the cell's channels (and size)."""
    if halve:
        return FactorizedReduce(in_channels, out_channels, norm, device)
    return ReLUConvNorm(in_channels, out_channels, partial(_conv, 1), norm=norm, device=device)


def build_passage(halve: bool, device: torch.device | str | None) -> nn.Module:
    r"""Builds what stands in the place of :func:`build_preprocess` in a network without it."""
    return Subsample() if halve else nn.Identity()
