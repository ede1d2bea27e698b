r"""Which parameters a computational graph asks for, and how each is decoded."""

from enum import Enum, auto
from math import prod
from typing import NamedTuple

from torch_geometric.data import Batch, Data

from pyg_ghn.errors import DecodeError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.nn.encodings import as_4d


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
    """A parameter to predict."""

    name: str  # in the model
    node: int  # its row in the batch
    shape: tuple[int, ...]
    role: Role

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        r"""The shape as (out, in, height, width). A vector is all outputs; only a position
        embedding becomes a square."""
        if self.role is Role.POSITION:
            return as_4d(self.shape)
        shape = (prod(self.shape),) if self.role.is_vector else self.shape
        return (*shape, *(1,) * (4 - len(shape)))

    def decoded(self, max_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The sizes of what a decoder makes for it, before that is repeated and interpolated."""
        c_out, c_in, *kernel = max_shape
        if self.role in (Role.CLASS_KERNEL, Role.CLASS_BIAS):
            c_out = self.shape[0]
        elif self.role.is_vector:
            c_out = max(c_out, c_in)
        return tuple(map(min, self.sizes, (c_out, c_in, *kernel)))


def collect_targets(data: Data, num_classes: int) -> list[list[Target]]:
    r"""For each graph its parameters in the order of its nodes, a norm's bias behind its weight.

    The last two nodes are the classification layer if they are a 1x1 kernel and its bias and have
    :obj:`num_classes` outputs. If not, as in a network for another number of classes, the last
    layer is decoded like every other."""
    per_node = [data.param_name, data.param_shape, data.bias_name if "bias_name" in data else None]
    if not isinstance(data, Batch):
        per_node = [[values] for values in per_node]
    elif per_node[2] is None:
        per_node[2] = [None] * data.num_graphs
    ops = iter(data.x.view(-1).tolist())
    node, targets = 0, []
    for names, shapes, bias_names in zip(*per_node, strict=True):
        # `Batch.to` turns the tuples into lists.
        shapes = [shape and tuple(shape) for shape in shapes]
        own = [next(ops) for _ in names]
        roles = [_ROLE_OF_OP.get(op, Role.KERNEL) for op in own]
        if own[-2:] == _CLASSIFIER_OPS:
            weight, bias = (shape or () for shape in shapes[-2:])
            has_classes = bias == weight[:1] == (num_classes,)
            if has_classes and len(weight) > 1 and prod(weight[2:]) == 1:
                roles[-2:] = Role.CLASS_KERNEL, Role.CLASS_BIAS
        targets.append([])
        for role, name, shape, bias_name in zip(
            roles, names, shapes, bias_names or [None] * len(names), strict=True
        ):
            if name is not None:
                role = Role.SCALE if len(shape or ()) == 1 and not role.is_vector else role
                targets[-1].append(_checked(Target(name, node, shape, role)))
            if bias_name is not None:
                targets[-1].append(_checked(Target(bias_name, node, shape, Role.BIAS)))
            node += 1
    return targets


def _checked(target: Target) -> Target:
    name, _, shape, role = target
    if shape is None:
        reason = "has no shape"
    elif len(shape) > 4 or (not shape and not role.is_vector):
        reason = f"has shape {tuple(shape)}, but only 1 to 4 dimensions can be predicted"
    elif not prod(shape):
        reason = f"has shape {tuple(shape)}, which holds no values"
    else:
        return target
    raise DecodeError(
        f"Parameter '{name}' {reason}. To leave it as it is, set `param_name`, `param_shape` and "
        "`bias_name` of its node in the graph to None."
    )
