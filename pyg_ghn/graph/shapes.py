r"""Shape-only versions of the most frequent operations.

A call on the meta device still costs the dispatcher's time (and LSTMs are unrolled step by step).
These functions return an empty meta tensor of the right shape at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _same(input: Tensor, *args, inplace: bool = False, **kwargs) -> Tensor:
    return input if inplace else torch.empty_like(input)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() != 2 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear layer with weight {tuple(weight.shape)} got input {tuple(input.shape)}"
        )
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    if input.dim() != 4 or input.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"convolution with weight {tuple(weight.shape)} and groups={groups} got input "
            f"{tuple(input.shape)}"
        )
    size = (
        _window(n, k, *(_pair(value, axis) for value in (stride, padding, dilation)))
        for axis, (n, k) in enumerate(zip(input.shape[2:], weight.shape[2:], strict=True))
    )
    return input.new_empty((input.shape[0], weight.shape[0], *size))


def _pair(value: Any, axis: int) -> Any:
    return value[axis % len(value)] if isinstance(value, (tuple, list)) else value


def _window(size: int, kernel: int, stride: int, padding: int | str, dilation: int) -> int:
    if padding == "same":
        return size
    padding = 0 if padding == "valid" else padding
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"kernel of size {kernel} is larger than the input of size {size}")
    return out


def _attention(query, key, value, *args, **kwargs) -> Tensor:
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


def _recurrent(hidden_states: int) -> Callable:
    """For :func:`torch.lstm` and its sisters: sequence and final hidden states."""

    def forward(input, second, third, *args, **kwargs):
        packed = isinstance(second, Tensor) and second.dtype == torch.long  # batch sizes
        hx = third if packed else second
        bidirectional = args[-1] if packed else args[-2]
        hidden = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        width = hidden[0].shape[-1] * (2 if bidirectional else 1)
        out = input.new_empty((*input.shape[:-1], width))
        return (out, *(torch.empty_like(h) for h in hidden[:hidden_states]))

    return forward


_UNCHANGED = """
    batch_norm group_norm instance_norm layer_norm rms_norm relu relu6 leaky_relu elu gelu silu mish
    hardswish hardsigmoid hardtanh sigmoid softmax dropout dropout1d dropout2d dropout3d
""".split()

SHAPE_ONLY: dict[str, Callable] = {
    **dict.fromkeys(_UNCHANGED, _same),
    "linear": _linear,
    "conv2d": _conv2d,
    "scaled_dot_product_attention": _attention,
    "lstm": _recurrent(2),
    "gru": _recurrent(1),
    "rnn_tanh": _recurrent(1),
    "rnn_relu": _recurrent(1),
}
r"""Operation name to shape-only function, called with the operation's own arguments."""
