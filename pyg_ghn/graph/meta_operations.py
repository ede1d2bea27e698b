r"""Shape-only versions of the most frequent operations.

A call on the meta device still costs the dispatcher's time, often a decomposition in Python (and
LSTMs are unrolled step by step). These functions return an empty meta tensor of the right shape at
once, or :obj:`NotImplemented` for what they do not cover.
"""

from collections.abc import Callable
from itertools import pairwise
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
    fits = dtype is None and input.is_contiguous()  # what comes out may differ in both
    return to_meta(input) if fits else NotImplemented


def _float(input: Tensor) -> Tensor:
    return _same(input) if input.is_meta and input.is_floating_point() else NotImplemented


def _clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    numbers = all(isinstance(n, (int, float, type(None))) for n in (min, max))
    return _float(input) if numbers else NotImplemented


def _normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    fits = input.is_meta and all(-input.dim() <= d < input.dim() for d in dims)
    return torch.empty_like(input) if fits and input.is_floating_point() else NotImplemented


def _channel_norm(input: Tensor, *vectors: Any, **kwargs) -> Tensor:
    channels = input.shape[1:2]
    fits = len(channels) and all([v.shape == channels for v in tensors(vectors, kwargs)])
    return _same(input) if fits else NotImplemented


def _group_norm(input: Tensor, num_groups: int, *vectors: Any, **kwargs) -> Tensor:
    fits = input.shape[1] % num_groups == 0
    return _channel_norm(input, *vectors, **kwargs) if fits else NotImplemented


def _layer_norm(input: Tensor, normalized_shape: Any, *args, **kwargs) -> Tensor:
    fits = tuple(input.shape[-len(normalized_shape) :]) == tuple(normalized_shape)
    return _empty(input, input.shape) if fits else NotImplemented


def _elementwise(input: Tensor, other: Any) -> Tensor:
    if isinstance(other, (int, float)):
        return _float(input)
    fits = input.is_meta and other.is_meta and input.dtype == other.dtype
    return _broadcast(input, other) if fits and input.is_floating_point() else NotImplemented


def _in_place(input: Tensor, other: Any) -> Tensor:
    fits = isinstance(other, (int, float)) or (
        other.is_meta and other.shape == input.shape and other.dtype == input.dtype
    )
    fits = fits and input.is_meta and input.is_floating_point() and input.is_contiguous()
    return input if fits else NotImplemented


def _added_in_place(input: Tensor, other: Any) -> Tensor:
    counts = type(other) is int and input.dtype == torch.long and input.is_meta  # a norm's batches
    return input if counts else _in_place(input, other)


def _compared(input: Tensor, other: Any) -> Tensor:
    fits = isinstance(other, (int, float)) and input.is_meta and input.is_contiguous()
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


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements lie side by side, in whatever order of the dimensions."""
    if tensor.is_contiguous():
        return True
    places = [p for p in sorted(zip(tensor.stride(), tensor.shape, strict=True)) if p[1] != 1]
    return places[0][0] == 1 and all(s * n == t for (s, n), (t, _) in pairwise(places))


def _looked_up(input: Tensor, index: Tensor) -> Tensor:
    fits = index.dtype == torch.long and input.is_contiguous() and input.dim() > 0
    return _empty(input, (*index.shape, *input.shape[1:])) if fits else NotImplemented


def _mean(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not all(-input.dim() <= d < input.dim() for d in dims):
        return NotImplemented
    dims = {d % input.dim() for d in dims}
    kept = [(1 if i in dims else n) for i, n in enumerate(input.shape) if keepdim or i not in dims]
    return _empty(input, kept)


def _adaptive_pool2d(input: Tensor, output_size: Any) -> Tensor:
    size = _pair(output_size)
    fits = input.dim() == 4 and None not in size
    return _empty(input, (*input.shape[:2], *size)) if fits else NotImplemented


def _multi_head_attention(query, key, value, channels, *args, need_weights=True, **kwargs) -> Any:
    fits = not need_weights and query.shape[-1] == channels
    return (_empty(query, query.shape), None) if fits else NotImplemented


def _cat(tensors: Any, dim: int = 0) -> Tensor:
    first = tensors[0]
    shapes = [[*t.shape] for t in tensors]
    sizes = [*first.shape]
    sizes[dim] = sum([shape.pop(dim) for shape in shapes])
    same = all([t.dtype == first.dtype for t in tensors]) and all([s == shapes[0] for s in shapes])
    return _empty(first, sizes) if same else NotImplemented


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    fits = weight.dim() == 2 and input.shape[-1:] == weight.shape[1:]
    return _empty(input, (*input.shape[:-1], weight.shape[0])) if fits else NotImplemented


def _matmul(input: Tensor, other: Tensor) -> Tensor:
    batches = input.dim() > 1 and (other.dim() == 2 or input.shape[:-2] == other.shape[:-2])
    fits = batches and input.dtype == other.dtype and input.shape[-1] == other.shape[-2]
    return _empty(input, (*input.shape[:-1], other.shape[-1])) if fits else NotImplemented


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    shape, of_weight = input.shape, weight.shape
    if len(shape) != 4 or shape[1] != of_weight[1] * groups:
        return NotImplemented
    size = shape[2:]
    if padding != "same":
        padding = 0 if padding == "valid" else padding
        along = zip(size, of_weight[2:], *map(_pair, (stride, padding, dilation)), strict=True)
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in along]
    return _empty(input, (shape[0], of_weight[0], *size)) if min(size) > 0 else NotImplemented


def _pair(value: Any) -> tuple | list:
    """An argument that is given for both axes together or one by one."""
    if not isinstance(value, (tuple, list)):
        return value, value
    return value * 2 if len(value) == 1 else value


def _attention(query: Tensor, key: Tensor, value: Tensor, *args, **kwargs) -> Tensor:
    fits = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    fits = fits and query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    return _empty(query, (*query.shape[:-1], value.shape[-1])) if fits else NotImplemented


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


def _covering(function: Callable) -> Callable:
    """Leaves to torch what a function fails on: other arguments, or a fault of the model."""

    def short(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return NotImplemented

    return short


_UNCHANGED = """
    relu relu6 leaky_relu elu gelu silu mish hardswish hardsigmoid hardtanh sigmoid softmax
    dropout dropout1d dropout2d dropout3d
""".split()

_FUNCTIONS: dict[str, Callable] = {
    **dict.fromkeys(_UNCHANGED, _same),
    **dict.fromkeys(("exp", "tanh"), _float),
    "clamp": _clamp,
    "normalize": _normalize,
    **dict.fromkeys(("batch_norm", "instance_norm"), _channel_norm),
    "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("add", "sub", "mul", "div"), _elementwise),
    **dict.fromkeys(("add_", "__iadd__"), _added_in_place),
    **dict.fromkeys("sub_ mul_ div_ __isub__ __imul__ __itruediv__".split(), _in_place),
    **dict.fromkeys("eq ne lt le gt ge".split(), _compared),
    **dict.fromkeys("__eq__ __ne__ __lt__ __le__ __gt__ __ge__".split(), _compared),
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
    **dict.fromkeys(("gru", "rnn_tanh", "rnn_relu"), _recurrent(1)),
}
SHAPE_ONLY = {name: _covering(function) for name, function in _FUNCTIONS.items()}
r"""Name of a function that is not in place to its shape-only version, which takes its arguments."""
