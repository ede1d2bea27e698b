r"""What the recorded operations are, beside the rules that make nodes of them."""

from typing import Any

from torch import Tensor

from pyg_ghn.graph.nested import tensors
from pyg_ghn.graph.recorder import Call

CONVOLUTIONS = frozenset(
    ["convolution", *(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3))]
)
CHANNEL_NORMS = frozenset(("batch_norm", "instance_norm"))
NATIVE_NORMS = frozenset(f"native {name}" for name in CHANNEL_NORMS)
NORMS = CHANNEL_NORMS.union(
    NATIVE_NORMS, ("group_norm", "native_group_norm", "layer_norm", "rms_norm")
)
LOOKUP_LAYERS = frozenset(("embedding", "embedding_bag"))
NATIVE_LOOKUPS = frozenset(f"native {name}" for name in LOOKUP_LAYERS)
EMBEDDINGS = LOOKUP_LAYERS | NATIVE_LOOKUPS
POOLS = frozenset(
    f"{kind}_pool{n}d{ending}"
    for n in (1, 2, 3)
    for kind, ending in (("avg", ""), ("max", ""), ("max", "_with_indices"))
)

_SIGNATURES: dict[str, str] = {
    **dict.fromkeys(CONVOLUTIONS, "input weight bias stride padding dilation groups"),
    **dict.fromkeys(
        [f"conv_transpose{n}d" for n in (1, 2, 3)],
        "input weight bias stride padding output_padding groups dilation",
    ),
    "convolution": ("input weight bias stride padding dilation transposed output_padding groups"),
    "linear": "input weight bias",
    **dict.fromkeys(CHANNEL_NORMS, "input running_mean running_var weight bias"),
    **dict.fromkeys(NATIVE_NORMS, "input weight bias running_mean running_var"),
    "group_norm": "input num_groups weight bias",
    "native_group_norm": "input weight bias",
    "layer_norm": "input normalized_shape weight bias",
    "rms_norm": "input normalized_shape weight",
    **dict.fromkeys(LOOKUP_LAYERS, "input weight"),
    **dict.fromkeys(NATIVE_LOOKUPS, "weight input"),
    "scaled_dot_product_attention": "query key value attn_mask",
    "flex_attention": "query key value",
    "multi_head_attention_forward": (
        "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v "
        "add_zero_attn dropout_p out_proj_weight out_proj_bias"
    ),
    **dict.fromkeys(POOLS, "input kernel_size"),
    "mean": "input dim",
}
SIGNATURES = {name: tuple(names.split()) for name, names in _SIGNATURES.items()}
r"""The leading arguments of operations, which may be given by position or by name."""


def arguments(call: Call) -> dict[str, Any]:
    r"""The arguments of a call by name, :obj:`None` for leading ones that are not given."""
    names = SIGNATURES[call.name]
    return {**dict.fromkeys(names), **call.kwargs, **dict(zip(names, call.args, strict=False))}


def flowing(call: Call, operands: list[Tensor]) -> list[Tensor]:
    r"""The results of a call that carry on what flows into it: integers and truth values that are
    computed from continuous data are positions and masks, unless it was only rounded."""
    outs = tensors(call.out)
    if call.name in CASTS or all([t.is_floating_point() for t in outs]):
        return outs
    if not any([t.is_floating_point() for t in operands]):
        return outs
    return [t for t in outs if is_continuous(t)]


def is_continuous(tensor: Tensor) -> bool:
    r"""Whether the numbers of a tensor are real or complex ones, be they rounded to few bits."""
    return tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized


LAYERS = NORMS | CONVOLUTIONS | EMBEDDINGS | {"linear", "multi_head_attention_forward"}
r"""Operations that become nodes even where no data flows in: the input stands in for it."""

SUMS_WITH_PRODUCT = frozenset("addmm addmv addbmm baddbmm".split())
r"""Products to which their first operand is added."""

PRODUCTS = SUMS_WITH_PRODUCT.union(
    "matmul mm bmm mv inner einsum tensordot multi_dot chain_matmul".split()
)
r"""Operations that are a layer when one operand is a parameter."""

CASTS = frozenset("to type type_as byte char short int long".split())

SHAPED_LIKE = frozenset("view_as reshape_as expand_as type_as to deepcopy".split())
r"""Operations that take no more than shape or type of their other tensors: the first one flows."""

VIEWS = SHAPED_LIKE.union(
    """
    view reshape expand unsqueeze squeeze flatten unflatten permute transpose movedim moveaxis
    swapaxes contiguous getitem get select slice narrow type float half alias t adjoint to_copy
    """.split()
)
r"""Operations whose result is still the gate that their input was."""

LOOKUPS = PRODUCTS.union("getitem index_select gather take take_along_dim embedding".split())
r"""Operations that, given indices or one-hot rows, take single entries of a table."""

CONCATENATIONS = frozenset("cat concat concatenate stack hstack vstack".split())

NO_FLOW = frozenset(
    "argmax argmin argsort eq ne lt le gt ge isnan isinf isfinite".split()
    + "logical_and logical_or logical_not".split()
)
r"""Operations that read shapes or make masks: no data flows through them."""
