r"""Which parameters a computational graph asks for, and how each is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from math import prod
from typing import NamedTuple

from pyg_ghn.errors import DecodeError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.nn.shape_encoding import as_4d


class Role(Enum):
    r"""What a parameter is in its layer, which decides how it is decoded."""

    SCALE = auto()  # weight of a normalization layer, or any other weight of one dimension
    BIAS = auto()
    CLASS_BIAS = auto()
    KERNEL = auto()  # weight of a convolution, and with a 1x1 kernel of a linear layer
    CLASS_KERNEL = auto()
    POSITION = auto()  # position embedding

    @property
    def is_vector(self) -> bool:
        r"""Whether the parameter is decoded as a vector, not as a kernel."""
        return self in (Role.SCALE, Role.BIAS, Role.CLASS_BIAS)


# Nodes whose parameters are not decoded as kernels.
_ROLE_OF_OP = {
    PRIMITIVE_INDEX["bias"]: Role.BIAS,
    PRIMITIVE_INDEX["bn"]: Role.SCALE,
    PRIMITIVE_INDEX["ln"]: Role.SCALE,
    PRIMITIVE_INDEX["pos_enc"]: Role.POSITION,
}
_CLASSIFIER_OPS = [PRIMITIVE_INDEX["conv"], PRIMITIVE_INDEX["bias"]]


class Target(NamedTuple):
    r"""A parameter to predict.

    Attributes:
        name: Its name in the model.
        node: Row of its node in the batch.
        shape: Its shape.
        role: How it is decoded.
    """

    name: str
    node: int
    shape: tuple[int, ...]
    role: Role

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        r"""The shape as (out, in, height, width). Only a position embedding becomes a square."""
        shape = self.shape
        return as_4d(shape) if self.role is Role.POSITION else (*shape, *(1,) * (4 - len(shape)))


def collect_targets(
    nodes: Sequence[int],
    ops: Sequence[int],
    names: Sequence[str | None],
    shapes: Sequence[tuple[int, ...] | None],
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
    roles = [_ROLE_OF_OP.get(op, Role.KERNEL) for op in ops]
    if list(ops[-2:]) == _CLASSIFIER_OPS:
        weight, bias = (shape or () for shape in shapes[-2:])
        has_classes = bias == weight[:1] == (num_classes,)
        if has_classes and len(weight) > 1 and prod(weight[2:]) == 1:
            roles[-2:] = Role.CLASS_KERNEL, Role.CLASS_BIAS
    targets = []
    for node, role, name, shape, bias_name in zip(
        nodes, roles, names, shapes, bias_names, strict=True
    ):
        if name is not None:
            role = Role.SCALE if len(shape or ()) == 1 and not role.is_vector else role
            targets.append(Target(name, node, shape, role))
        if bias_name is not None:
            targets.append(Target(bias_name, node, shape, Role.BIAS))
    for target in targets:
        _check(target)
    return targets


def _check(target: Target) -> None:
    name, _, shape, role = target
    if shape is None:
        reason = "has no shape"
    elif len(shape) > 4 or (not shape and not role.is_vector):
        reason = f"has shape {tuple(shape)}, but only 1 to 4 dimensions can be predicted"
    elif not prod(shape):
        reason = f"has shape {tuple(shape)}, which holds no values"
    else:
        return
    raise DecodeError(
        f"Parameter '{name}' {reason}. To leave it as it is, set `param_name`, `param_shape` and "
        "`bias_name` of its node in the graph to None."
    )
