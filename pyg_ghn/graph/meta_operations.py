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


def _same(input: Tensor, *args, inplace: bool = False, dtype: Any = None, **kwargs) -> Tensor:
    if inplace:
        return input
    if dtype is not None or not input.is_contiguous():  # what comes out may differ in both
        return NotImplemented
    return to_meta(input)


def _float(input: Tensor, **kwargs) -> Tensor:
    fits = not kwargs and input.is_meta and input.is_floating_point()
    return _same(input) if fits else NotImplemented


def _clamp(input: Tensor, min: Any = None, max: Any = None, **kwargs) -> Tensor:
    numbers = not kwargs and all(isinstance(n, (int, float, type(None))) for n in (min, max))
    return _float(input) if numbers else NotImplemented


def _normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None):
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    fits = out is None and input.is_meta and all(-input.dim() <= d < input.dim() for d in dims)
    return torch.empty_like(input) if fits and input.is_floating_point() else NotImplemented


def _channel_norm(input: Tensor, *vectors: Any, **kwargs) -> Tensor:
    vectors = [v for v in (*vectors, *kwargs.values()) if isinstance(v, Tensor)]
    fits = input.dim() > 1 and all(v.shape == input.shape[1:2] for v in vectors)
    return _same(input) if fits else NotImplemented


def _group_norm(input: Tensor, num_groups: int, *vectors: Any, **kwargs) -> Tensor:
    fits = input.dim() > 1 and input.shape[1] % num_groups == 0
    return _channel_norm(input, *vectors, **kwargs) if fits else NotImplemented


def _layer_norm(input: Tensor, normalized_shape: Any, *args, **kwargs) -> Tensor:
    fits = tuple(input.shape[-len(normalized_shape) :]) == tuple(normalized_shape)
    return input.new_empty(input.shape) if fits else NotImplemented


def _elementwise(input: Any, other: Any, **kwargs) -> Tensor:
    operands = (input, other)
    if isinstance(input, Tensor) and isinstance(other, (int, float)) and not kwargs:
        return _float(input)
    if kwargs or not all(isinstance(t, Tensor) and t.is_meta for t in operands):
        return NotImplemented
    if input.dtype != other.dtype or not all(t.is_contiguous() for t in operands):
        return NotImplemented
    if input.shape == other.shape:
        return to_meta(input)
    return input.new_empty(torch.broadcast_shapes(input.shape, other.shape))


def _mean(input: Tensor, dim: Any = None, keepdim: bool = False, **kwargs) -> Tensor:
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    if kwargs or dim is None or not all(-input.dim() <= d < input.dim() for d in dims):
        return NotImplemented
    dims = {d % input.dim() for d in dims}
    kept = ((1 if i in dims else n) for i, n in enumerate(input.shape) if keepdim or i not in dims)
    return input.new_empty(tuple(kept))


def _adaptive_pool2d(input: Tensor, output_size: Any, *args, **kwargs) -> Tensor:
    size = (_along(0, output_size), _along(1, output_size))
    if args or kwargs or input.dim() != 4 or None in size:
        return NotImplemented
    return input.new_empty((*input.shape[:2], *size))


def _multi_head_attention(query, key, value, channels, *args, need_weights=True, **kwargs) -> Any:
    if need_weights or query.shape[-1] != channels:
        return NotImplemented
    return query.new_empty(query.shape), None


def _cat(tensors: Any, dim: int = 0, **kwargs) -> Tensor:
    first = tensors[0]
    if kwargs or not -first.dim() <= dim < first.dim():
        return NotImplemented
    sizes = list(first.shape)
    sizes[dim] = sum(t.shape[dim] for t in tensors if t.dim() == first.dim())
    for tensor in tensors:
        expected = [*sizes]
        expected[dim] = tensor.shape[dim] if tensor.dim() == first.dim() else -1
        if list(tensor.shape) != expected or tensor.dtype != first.dtype:
            return NotImplemented
    return first.new_empty(sizes)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() != 2 or input.shape[-1:] != weight.shape[1:]:
        return NotImplemented
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    if input.dim() != 4 or input.shape[1] != weight.shape[1] * groups:
        return NotImplemented
    size = [
        _window(n, k, *(_along(axis, value) for value in (stride, padding, dilation)))
        for axis, (n, k) in enumerate(zip(input.shape[2:], weight.shape[2:], strict=True))
    ]
    if min(size) <= 0:
        return NotImplemented
    return input.new_empty((*input.shape[:1], *weight.shape[:1], *size))


def _along(axis: int, value: Any) -> Any:
    """An argument that is given for all axes together or one by one."""
    return value[axis % len(value)] if isinstance(value, (tuple, list)) else value


def _window(size: int, kernel: int, stride: int, padding: int | str, dilation: int) -> int:
    if padding == "same":
        return size
    padding = 0 if padding == "valid" else padding
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _attention(query: Tensor, key: Tensor, value: Tensor, *args, **kwargs) -> Tensor:
    batches = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    if not batches or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return NotImplemented
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
    relu relu6 leaky_relu elu gelu silu mish hardswish hardsigmoid hardtanh sigmoid softmax
    dropout dropout1d dropout2d dropout3d
""".split()

SHAPE_ONLY: dict[str, Callable] = {
    **dict.fromkeys(_UNCHANGED, _same),
    **dict.fromkeys(("exp", "tanh"), _float),
    "clamp": _clamp,
    "normalize": _normalize,
    **dict.fromkeys(("batch_norm", "instance_norm"), _channel_norm),
    "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("add", "sub", "mul"), _elementwise),
    "cat": _cat,
    "mean": _mean,
    "roll": lambda input, *args, **kwargs: input.new_empty(input.shape),
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
