r"""What the names of recorded operations mean, beside the rules that make nodes of them."""

NORMS = frozenset("batch_norm instance_norm group_norm layer_norm rms_norm".split())

LAYERS = NORMS.union(
    [f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3)],
    ["linear", "embedding"],
)
r"""Operations that become nodes even where no data flows in: the input stands in for it."""

PRODUCTS = frozenset("matmul mm bmm einsum tensordot addmm".split())
r"""Operations that are a layer when one operand is a parameter."""

SHAPED_LIKE = frozenset("view_as reshape_as expand_as type_as to".split())
r"""Operations that take the shape or type of another tensor: only the first one flows."""

VIEWS = SHAPED_LIKE.union(
    """
    view reshape expand unsqueeze squeeze flatten unflatten permute transpose movedim moveaxis
    swapaxes contiguous getitem select narrow type float half
    """.split()
)
r"""Operations whose result is still the gate that their input was."""

LOOKUPS = frozenset("getitem index_select gather take take_along_dim embedding".split())
r"""Operations that, given indices, take single entries of a table."""

CONCATENATIONS = frozenset("cat concat concatenate stack hstack vstack".split())

NO_FLOW = frozenset(
    """
    detach argmax argmin argsort eq ne lt le gt ge isnan isinf isfinite logical_and logical_or
    logical_not
    """.split()
)
r"""Operations that read shapes or make masks: no data flows through them."""
