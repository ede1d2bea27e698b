r"""Which parameters a computational graph asks for, and how each is decoded."""

from collections.abc import Sequence
from enum import Enum, auto
from math import prod
from typing import NamedTuple

from pyg_ghn.errors import DecodeError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.nn.shape_encoding import Shape


class Kind(Enum):
    r"""The ways of decoding a parameter."""

    SCALE = auto()  # weight of a normalization layer, or any other weight of one dimension
    BIAS = auto()
    CLASS_BIAS = auto()
    KERNEL = auto()  # weight of a convolution, and with a 1x1 kernel of a linear layer
    CLASS_KERNEL = auto()
    POSITION = auto()  # position embedding


VECTORS = frozenset({Kind.SCALE, Kind.BIAS, Kind.CLASS_BIAS})

# Nodes whose parameters are not decoded as kernels.
_KIND_OF_OP = {
    PRIMITIVE_INDEX["bias"]: Kind.BIAS,
    PRIMITIVE_INDEX["bn"]: Kind.SCALE,
    PRIMITIVE_INDEX["ln"]: Kind.SCALE,
    PRIMITIVE_INDEX["pos_enc"]: Kind.POSITION,
}
_CLASSIFIER_OPS = [PRIMITIVE_INDEX["conv"], PRIMITIVE_INDEX["bias"]]


class Target(NamedTuple):
    r"""A parameter to predict."""

    name: str
    node: int
    shape: Shape
    kind: Kind


def collect_targets(
    nodes: Sequence[int],
    ops: Sequence[int],
    names: Sequence[str | None],
    shapes: Sequence[Shape | None],
    bias_names: Sequence[str | None],
    num_classes: int,
) -> list[Target]:
    r"""The parameters of one graph in the order of its nodes, a norm's bias behind its weight.

    The last two nodes are the classification layer if they are a 1x1 kernel and its bias and have
    :obj:`num_classes` outputs. If not, as in a network for another number of classes, the last
    layer is decoded like every other.

    Args:
        nodes (sequence): Rows of the graph's nodes in the batch.
        ops (sequence): Rows of :obj:`~pyg_ghn.graph.PRIMITIVES`.
        names (sequence): For each node the name of its parameter, or :obj:`None`.
        shapes (sequence): For each node a shape, or :obj:`None`.
        bias_names (sequence): For each norm's node the name of the norm's bias, or :obj:`None`.
        num_classes (int): Number of classes of the GHN.

    Raises:
        DecodeError: If a parameter has a shape that cannot be decoded.
    """
    kernel_kind, bias_kind = _last_kinds(ops, shapes, num_classes)
    last = len(ops) - 1
    targets = []
    for place, (node, op, name, shape, bias_name) in enumerate(
        zip(nodes, ops, names, shapes, bias_names, strict=True)
    ):
        if name is not None:
            kind = _KIND_OF_OP.get(op, Kind.KERNEL)
            if place == last - 1:
                kind = kernel_kind or kind
            elif place == last:
                kind = bias_kind or kind
            if len(shape or ()) == 1 and kind not in VECTORS:
                kind = Kind.SCALE
            targets.append(_checked(Target(name, node, shape, kind)))
        if bias_name is not None:
            targets.append(_checked(Target(bias_name, node, shape, Kind.BIAS)))
    return targets


def _last_kinds(
    ops: Sequence[int], shapes: Sequence[Shape | None], num_classes: int
) -> tuple[Kind | None, Kind | None]:
    """How the last two nodes are decoded if they are the classification layer."""
    if list(ops[-2:]) == _CLASSIFIER_OPS:
        weight, bias = (shape or () for shape in shapes[-2:])
        outputs = bias == (num_classes,) and weight[:1] == (num_classes,)
        if outputs and len(weight) > 1 and prod(weight[2:]) == 1:
            return Kind.CLASS_KERNEL, Kind.CLASS_BIAS
    return None, None


def _checked(target: Target) -> Target:
    name, _, shape, kind = target
    if shape is None:
        reason = "has no shape"
    elif len(shape) > 4 or (not shape and kind not in VECTORS):
        reason = f"has shape {tuple(shape)}, but 1 to 4 dimensions can be predicted"
    elif not prod(shape):
        reason = f"has shape {tuple(shape)}, which holds nothing to predict"
    else:
        return target
    raise DecodeError(
        f"Parameter '{name}' {reason}. To leave it as it is, set `param_name`, `param_shape` and "
        "`bias_name` of its node in the graph to None."
    )
