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

from pyg_ghn.graph.nested import tensors

META = torch.device("meta")


def to_meta(tensor: Tensor, requires_grad: bool = False) -> Tensor:
    """An empty meta tensor like the given one; :func:`torch.empty_like` takes ten times longer."""
    place, dtype = (tensor.shape, tensor.stride()), tensor.dtype
    return torch.empty_strided(*place, dtype=dtype, device=META, requires_grad=requires_grad)


def _empty(input: Tensor, shape: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A method of ``input`` takes five times longer."""
    return torch.empty(shape, dtype=dtype or input.dtype, device=META)


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
    channels = input.shape[1:2]
    fits = input.dim() > 1 and all([v.shape == channels for v in tensors(vectors, kwargs)])
    return _same(input) if fits else NotImplemented


def _group_norm(input: Tensor, num_groups: int, *vectors: Any, **kwargs) -> Tensor:
    fits = input.dim() > 1 and input.shape[1] % num_groups == 0
    return _channel_norm(input, *vectors, **kwargs) if fits else NotImplemented


def _layer_norm(input: Tensor, normalized_shape: Any, *args, **kwargs) -> Tensor:
    fits = tuple(input.shape[-len(normalized_shape) :]) == tuple(normalized_shape)
    return _empty(input, input.shape) if fits else NotImplemented


def _elementwise(input: Any, other: Any, **kwargs) -> Tensor:
    if kwargs or not isinstance(input, Tensor):
        return NotImplemented
    if isinstance(other, (int, float)):
        return _float(input)
    if not isinstance(other, Tensor) or not (input.is_meta and other.is_meta):
        return NotImplemented
    if input.dtype != other.dtype:
        return NotImplemented
    return _broadcast(input, other)


def _divided(input: Any, other: Any, **kwargs) -> Tensor:
    fits = isinstance(input, Tensor) and input.is_floating_point()
    return _elementwise(input, other, **kwargs) if fits else NotImplemented


def _in_place(input: Tensor, other: Any, **kwargs) -> Tensor:
    if kwargs or not input.is_meta or not input.is_contiguous():
        return NotImplemented
    if isinstance(other, Tensor):
        fits = other.is_meta and (other.shape, other.dtype) == (input.shape, input.dtype)
    else:
        fits = isinstance(other, (int, float))
    # Or the number of batches that a norm counts.
    fits &= input.is_floating_point() or (type(other) is int and input.dtype == torch.long)
    return input if fits else NotImplemented


def _divided_in_place(input: Tensor, other: Any, **kwargs) -> Tensor:
    return _in_place(input, other, **kwargs) if input.is_floating_point() else NotImplemented


def _compared(input: Tensor, other: Any, **kwargs) -> Tensor:
    fits = not kwargs and input.is_meta and input.is_contiguous()
    fits = fits and isinstance(other, (int, float))
    return _empty(input, input.shape, torch.bool) if fits else NotImplemented


def _masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    fits = input.is_floating_point() and isinstance(value, (int, float))
    return _broadcast(input, mask) if fits and mask.dtype == torch.bool else NotImplemented


def _broadcast(input: Tensor, other: Tensor) -> Tensor:
    shape, a, b = input.shape, input.shape, other.shape
    if a != b:
        a, b = (1,) * (len(b) - len(a)) + a, (1,) * (len(a) - len(b)) + b
        if not all([n == m or n == 1 or m == 1 for n, m in zip(a, b, strict=True)]):
            return NotImplemented
        shape = tuple([m if n == 1 else n for n, m in zip(a, b, strict=True)])
    if shape == input.shape and _is_dense(input):  # whose strides decide
        return to_meta(input)
    both = input.is_contiguous() and other.is_contiguous()
    return _empty(input, shape) if both else NotImplemented


def _looked_up(input: Tensor, index: Any) -> Tensor:
    fits = isinstance(index, Tensor) and index.dtype == torch.long and input.is_contiguous()
    fits = fits and input.dim() > 0
    return _empty(input, (*index.shape, *input.shape[1:])) if fits else NotImplemented


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements lie side by side, in whatever order of the dimensions."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, n in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


def _mean(input: Tensor, dim: Any = None, keepdim: bool = False, **kwargs) -> Tensor:
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    if kwargs or dim is None or not all(-input.dim() <= d < input.dim() for d in dims):
        return NotImplemented
    dims = {d % input.dim() for d in dims}
    kept = ((1 if i in dims else n) for i, n in enumerate(input.shape) if keepdim or i not in dims)
    return _empty(input, tuple(kept))


def _adaptive_pool2d(input: Tensor, output_size: Any, *args, **kwargs) -> Tensor:
    size = _pair(output_size)
    if args or kwargs or input.dim() != 4 or None in size:
        return NotImplemented
    return _empty(input, (*input.shape[:2], *size))


def _multi_head_attention(query, key, value, channels, *args, need_weights=True, **kwargs) -> Any:
    if need_weights or query.shape[-1] != channels:
        return NotImplemented
    return _empty(query, query.shape), None


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
    return _empty(first, sizes)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() != 2 or input.shape[-1:] != weight.shape[1:]:
        return NotImplemented
    return _empty(input, (*input.shape[:-1], weight.shape[0]))


def _matmul(input: Tensor, other: Any) -> Tensor:
    fits = isinstance(other, Tensor) and input.dim() > 1 and input.dtype == other.dtype
    if (
        not fits
        or input.shape[-1] != other.shape[-2:-1].numel()
        or (other.dim() != 2 and input.shape[:-2] != other.shape[:-2])
    ):
        return NotImplemented
    return _empty(input, (*input.shape[:-1], other.shape[-1]))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    shape, of_weight = input.shape, weight.shape
    if len(shape) != 4 or shape[1] != of_weight[1] * groups:
        return NotImplemented
    size = shape[2:]
    if padding != "same":
        padding = 0 if padding == "valid" else padding
        along = zip(size, of_weight[2:], *map(_pair, (stride, padding, dilation)), strict=True)
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in along]
        if min(size) <= 0:
            return NotImplemented
    return _empty(input, (shape[0], of_weight[0], *size))


def _pair(value: Any) -> tuple | list:
    """An argument that is given for both axes together or one by one."""
    if not isinstance(value, (tuple, list)):
        return value, value
    return value * 2 if len(value) == 1 else value


def _attention(query: Tensor, key: Tensor, value: Tensor, *args, **kwargs) -> Tensor:
    batches = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    if not batches or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return NotImplemented
    return _empty(query, (*query.shape[:-1], value.shape[-1]))


def _recurrent(hidden_states: int) -> Callable:
    """For :func:`torch.lstm` and its sisters: sequence and final hidden states."""

    def forward(input, second, third, *args, **kwargs):
        packed = isinstance(second, Tensor) and second.dtype == torch.long  # batch sizes
        hx = third if packed else second
        bidirectional = args[-1] if packed else args[-2]
        hidden = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        width = hidden[0].shape[-1] * (2 if bidirectional else 1)
        out = _empty(input, (*input.shape[:-1], width))
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
    "div": _divided,
    **dict.fromkeys(("add_", "sub_", "mul_", "__iadd__", "__isub__", "__imul__"), _in_place),
    **dict.fromkeys(("div_", "__itruediv__"), _divided_in_place),
    **dict.fromkeys(
        "eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__".split(), _compared
    ),
    "masked_fill": _masked_fill,
    "__getitem__": _looked_up,
    "cat": _cat,
    "mean": _mean,
    "matmul": _matmul,
    "roll": lambda input, *args, **kwargs: _empty(input, input.shape),
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
