r"""Shape-only versions of the most frequent operations.

A call on the meta device still costs the dispatcher's time, often a decomposition in Python (and
LSTMs are unrolled step by step). These functions return an empty meta tensor of the right shape at
once, or :obj:`NotImplemented` for what they do not cover.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def to_meta(tensor: Tensor) -> Tensor:
    """An empty meta tensor like the given one; :func:`torch.empty_like` takes 50 times longer."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _same(input: Tensor, *args, inplace: bool = False, **kwargs) -> Tensor:
    return input if inplace else to_meta(input)


def _elementwise(input: Any, other: Any, **kwargs) -> Tensor:
    if kwargs or not (isinstance(input, Tensor) and isinstance(other, Tensor)):
        return NotImplemented
    if input.dtype != other.dtype or not (input.is_meta and other.is_meta):
        return NotImplemented
    if input.shape == other.shape:
        return to_meta(input)
    return input.new_empty(torch.broadcast_shapes(input.shape, other.shape))


def _mean(input: Tensor, dim: Any = None, keepdim: bool = False, **kwargs) -> Tensor:
    if kwargs or dim is None:
        return NotImplemented
    dims = {d % input.dim() for d in (dim if isinstance(dim, (tuple, list)) else (dim,))}
    kept = ((1 if i in dims else n) for i, n in enumerate(input.shape) if keepdim or i not in dims)
    return input.new_empty(tuple(kept))


def _adaptive_pool2d(input: Tensor, output_size: Any, *args, **kwargs) -> Tensor:
    size = (_pair(output_size, 0), _pair(output_size, 1))
    if args or kwargs or input.dim() != 4 or None in size:
        return NotImplemented
    return input.new_empty((*input.shape[:2], *size))


def _multi_head_attention(query: Tensor, *args, need_weights: bool = True, **kwargs) -> Any:
    return NotImplemented if need_weights else (query.new_empty(query.shape), None)


def _cat(tensors: Any, dim: int = 0) -> Tensor:
    first = tensors[0]
    if not all(t.dim() == first.dim() and t.dtype == first.dtype for t in tensors):
        return NotImplemented
    sizes = list(first.shape)
    sizes[dim] = sum(t.shape[dim] for t in tensors)
    return first.new_empty(sizes)


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
        return (out, *(to_meta(h) for h in hidden[:hidden_states]))

    return forward


_UNCHANGED = """
    batch_norm group_norm instance_norm layer_norm rms_norm relu relu6 leaky_relu elu gelu silu mish
    hardswish hardsigmoid hardtanh sigmoid softmax dropout dropout1d dropout2d dropout3d
""".split()

SHAPE_ONLY: dict[str, Callable] = {
    **dict.fromkeys(_UNCHANGED, _same),
    **dict.fromkeys(("add", "sub", "mul"), _elementwise),
    "cat": _cat,
    "mean": _mean,
    "adaptive_avg_pool2d": _adaptive_pool2d,
    "multi_head_attention_forward": _multi_head_attention,
    "linear": _linear,
    "conv2d": _conv2d,
    "scaled_dot_product_attention": _attention,
    "lstm": _recurrent(2),
    "gru": _recurrent(1),
    "rnn_tanh": _recurrent(1),
    "rnn_relu": _recurrent(1),
}
r"""Name of a function that is not in place to its shape-only version, which takes its arguments."""
