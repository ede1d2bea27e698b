r"""One small rule per operation family: which nodes a recorded call becomes.

A rule takes the builder and the call and returns the value of what the call made, or :obj:`None`
where the call adds no node after all and just passes its operands' sources on.
"""

import math
from collections.abc import Callable

from torch import Tensor

from pyg_ghn.graph.builder import NOTHING, GraphBuilder, Value
from pyg_ghn.graph.nested import tensors
from pyg_ghn.graph.operations import (
    CONCATENATIONS,
    CONVOLUTIONS,
    EMBEDDINGS,
    NORMS,
    POOLS,
    PRODUCTS,
    SUMS_WITH_PRODUCT,
    arguments,
)
from pyg_ghn.graph.recorder import Call

Rule = Callable[[GraphBuilder, Call], Value | None]


def _layer(builder: GraphBuilder, call: Call) -> Value | None:
    """A convolution, a linear layer or a lookup in an embedding."""
    given, op = arguments(call), "pos_enc" if call.name in EMBEDDINGS else "conv"
    if given.get("groups") not in (None, 1):
        dilation = given["dilation"] or 1
        dilation = min(dilation) if isinstance(dilation, (tuple, list)) else dilation
        op = "dil_conv" if dilation > 1 else "sep_conv"
    input = builder.value(given["input"])
    out = builder.add_layer(op, input.sources, given["weight"], given.get("bias"))
    if out and input.attention and call.out.shape == given["input"].shape:
        return out._replace(attention=True)  # talking heads: a layer before the values are met
    return out


def _matmul(builder: GraphBuilder, call: Call) -> Value | None:
    """A product with a parameter is a layer, one of attention and values a part of ``msa``. What
    :func:`torch.addmm` and its like add comes after it."""
    operands, added = call.operands, None
    if call.name in SUMS_WITH_PRODUCT:
        added = call.kwargs["input"] if "input" in call.kwargs else operands[0]
        operands = [t for t in operands if t is not added]
    values = [builder.value(t) for t in operands]
    sources = builder.sources(*operands)
    weights = [
        t
        for t, v in zip(operands, values, strict=True)
        if v.params and not v.sources and not v.gathered and t.dim() > 1
    ]
    if any(v.attention for v in values) and sum(bool(v.sources) for v in values) > 1:
        out = builder.add("msa", sources)
    elif sources and weights:
        out = builder.add_layer("conv", sources, weights[0])._replace(open_weight=True)
    else:
        out = None
    if added is None:
        return out
    out = out or builder.passed_on(operands, call.name)
    if out.sources and builder.value(added).sources:
        return _join("sum", builder, [added], out) or out
    return _plus_parameter(builder, out, tuple(call.out.shape), added) or out


def _attention(builder: GraphBuilder, call: Call) -> Value:
    """What is added to the scores joins them as in attention that is written out."""
    given = arguments(call)
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    scores = Value(builder.sources(query, key))
    if builder.value(mask).sources:
        scores = _join("sum", builder, [query, key, mask]) or scores
    elif builder.value(mask).params:
        shape = (*query.shape[:-1], key.shape[-2])
        scores = _plus_parameter(builder, scores, shape, mask) or scores
    return builder.add("msa", scores.sources | builder.sources(given["value"]))


def _multi_head_attention(builder: GraphBuilder, call: Call) -> Value:
    """In-projection, attention and out-projection of :class:`torch.nn.MultiheadAttention`."""
    given = arguments(call)
    inputs = [given["query"], given["key"], given["value"]]
    parts = [(inputs, given["in_proj_weight"])]
    if not builder.value(given["in_proj_weight"]).params:
        # Key and value of another width than the query.
        weights = [given.get(f"{name}_proj_weight") for name in "qkv"]
        parts = [([data], weight) for data, weight in zip(inputs, weights, strict=True)]
    each = [builder.add_each("conv", builder.sources(*data), weight) for data, weight in parts]
    projected = builder.add_each("bias", frozenset().union(*each), given["in_proj_bias"])
    attended = builder.add("msa", projected).sources
    out = builder.add_each("conv", attended, given["out_proj_weight"])
    return Value(builder.add_each("bias", out, given["out_proj_bias"]))


def _norm(op: str) -> Rule:
    def rule(builder: GraphBuilder, call: Call) -> Value | None:
        given = arguments(call)
        input, weight = builder.value(given["input"]), builder.value(given["weight"]).params
        if not weight:
            return None
        bias = next(iter(builder.value(given.get("bias")).params), None)
        out = builder.add(op, input.sources, weight[0], bias_name=bias)
        return out._replace(attention=True) if input.attention else out

    return rule


def _pool(op: str) -> Rule:
    def rule(builder: GraphBuilder, call: Call) -> Value:
        given = arguments(call)
        kernel = given["kernel_size"]
        kernel = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
        shape = (1, 1, kernel[0], kernel[-1])
        return builder.add(op, builder.sources(given["input"]), param_shape=shape)

    return rule


def _mean(builder: GraphBuilder, call: Call) -> Value | None:
    """A mean over everything but the batch and one more dimension, the channels."""
    given = arguments(call)
    input, dims = given["input"], given.get("axis", given["dim"])
    if dims is None or not input.dim():
        return None
    dims = {d % input.dim() for d in (dims if isinstance(dims, (tuple, list)) else (dims,))}
    over_positions = 0 not in dims and 0 < len(dims) == input.dim() - 2
    return builder.add("glob_avg", builder.sources(input)) if over_positions else None


def _add(builder: GraphBuilder, call: Call) -> Value | None:
    operands = call.operands
    if len(operands) != 2:
        return None
    if all(builder.value(t).sources for t in operands):
        return _join("sum", builder, operands)
    data, other = sorted(operands, key=lambda t: not builder.value(t).sources)
    return _plus_parameter(builder, builder.value(data), tuple(data.shape), other)


def _plus_parameter(
    builder: GraphBuilder, data: Value, shape: tuple[int, ...], other: Tensor
) -> Value | None:
    """A position embedding, or the bias of a layer that is written as a product."""
    value, trailing = builder.value(other), tuple(other.shape)
    while len(trailing) > 1 and trailing[0] == 1:
        trailing = trailing[1:]
    if not value.params or value.gathered:
        return None
    vectors = [own for name in value.params if not _has_positions(own := builder.shapes[name])]
    is_expanded = len(vectors) == len(value.params) and math.prod(vectors[0]) > 1
    if data.open_weight and (is_expanded or _is_channels(trailing, shape)):
        return builder.add_layer("bias", data.sources, other)
    if shape[-len(trailing) :] != trailing:
        return None
    positions = [name for name in value.params if _has_positions(builder.shapes[name])]
    if positions and _has_positions(trailing):
        encodings = [builder.add("pos_enc", (), name).sources for name in positions]
        return builder.add("sum", data.sources.union(*encodings))
    return None


def _is_channels(trailing: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a vector along one dimension, the last or another one, of a shape."""
    if len(trailing) > len(shape) or _has_positions(trailing):
        return False
    along = [n for n in zip(trailing, shape[-len(trailing) :], strict=True) if n[0] > 1]
    return trailing == shape[-1:] or (bool(along) and along[0][0] == along[0][1])


def _has_positions(shape: tuple[int, ...]) -> bool:
    """Whether there is more than a vector of channels."""
    return sum(n > 1 for n in shape) > 1


def _concat(builder: GraphBuilder, call: Call) -> Value | None:
    data = [t for t in call.operands if builder.value(t).sources]
    return _join("concat", builder, data)


def _join(
    op: str, builder: GraphBuilder, operands: list[Tensor], other: Value = NOTHING
) -> Value | None:
    sources = builder.sources(*operands) | other.sources
    if len({id(t) for t in operands}) + bool(other.sources) < 2 or len(sources) < 2:
        return None
    return builder.add(op, sources)


def _gate(builder: GraphBuilder, call: Call) -> Value:
    return Value(builder.sources(*call.operands), gate=call.operands[0].numel())


def _product(builder: GraphBuilder, call: Call) -> Value | None:
    """Data times a gate of fewer elements is ``cse``."""
    operands = [t for t in call.operands if builder.value(t).sources]
    if len(operands) != 2:
        return None
    for data, gate in (operands, reversed(operands)):
        if 0 < builder.value(gate).gate < data.numel():
            return builder.add("cse", builder.sources(*operands), gate=builder.sources(gate))
    return _by_own_mean(builder, call)


def _by_own_mean(builder: GraphBuilder, call: Call) -> Value | None:
    """A mean that centres or scales just what it was taken from is a norm and no step."""
    sources = [v.sources for t in tensors(call.args) if (v := builder.value(t)).sources]
    if len(sources) != 2:
        return None
    for data, statistic in (sources, reversed(sources)):
        if len(statistic) == 1:
            (node,) = (builder.nodes[index] for index in statistic)
            if node.op == "glob_avg" and node.preds == data:
                return Value(data)
    return None


RULES: dict[str, Rule] = {
    **dict.fromkeys((*CONVOLUTIONS, *EMBEDDINGS, "linear"), _layer),
    **dict.fromkeys(PRODUCTS, _matmul),
    "softmax": lambda builder, call: Value(builder.sources(*call.operands), attention=True),
    **dict.fromkeys(("scaled_dot_product_attention", "flex_attention"), _attention),
    "multi_head_attention_forward": _multi_head_attention,
    **dict.fromkeys(NORMS, _norm("bn")),
    **dict.fromkeys(("layer_norm", "rms_norm"), _norm("ln")),
    **{name: _pool(name[:8]) for name in POOLS},
    **dict.fromkeys(
        [f"adaptive_avg_pool{n}d" for n in (1, 2, 3)],
        lambda builder, call: builder.add("glob_avg", builder.sources(*call.operands)),
    ),
    "mean": _mean,
    "add": _add,
    **dict.fromkeys(CONCATENATIONS, _concat),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "hardswish"), _gate),
    **dict.fromkeys(("mul", "multiply"), _product),
    **dict.fromkeys(("sub", "subtract", "div", "divide", "truediv"), _by_own_mean),
    "detach": lambda builder, call: NOTHING,  # what is computed from parameters alone passes
}
r"""Operation name to rule. What is not listed adds no node."""
