import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.errors import DecodeError
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.nn.targets import Role, Target, collect_targets


def collect(*nodes):
    """Targets of the nodes (op, name, shape[, bias name]) of a graph, for 10 classes."""
    data = Data(
        x=torch.tensor([[PRIMITIVE_INDEX[node[0]]] for node in nodes]),
        param_name=[node[1] for node in nodes],
        param_shape=[node[2] for node in nodes],
        bias_name=[node[3] if len(node) > 3 else None for node in nodes],
    )
    (targets,) = collect_targets(data, num_classes=10)
    return targets


def test_roles():
    assert collect(
        ("input", None, None),
        ("conv", "a.weight", (8, 3, 3, 3)),
        ("bias", "a.bias", (8,)),
        ("max_pool", None, (1, 1, 2, 2)),
        ("bn", "n.weight", (8,), "n.bias"),
        ("sep_conv", "c.weight", (8, 1, 3, 3)),
        ("pos_enc", "p", (1, 5, 8)),
        ("ln", "l.weight", (8,)),
        ("conv", "v", (8,)),
        ("glob_avg", None, None),
    ) == [
        Target("a.weight", 1, (8, 3, 3, 3), Role.KERNEL),
        Target("a.bias", 2, (8,), Role.BIAS),
        Target("n.weight", 4, (8,), Role.SCALE),
        Target("n.bias", 4, (8,), Role.BIAS),
        Target("c.weight", 5, (8, 1, 3, 3), Role.KERNEL),
        Target("p", 6, (1, 5, 8), Role.POSITION),
        Target("l.weight", 7, (8,), Role.SCALE),
        Target("v", 8, (8,), Role.SCALE),
    ]


@pytest.mark.parametrize("shape", [(10, 8), (10, 8, 1, 1), (10, 8, 1)])
def test_classification_layer(shape):
    head = ("conv", "h.weight", shape), ("bias", "h.bias", (10,))
    roles = [t.role for t in collect(("input", None, None), *head, *head)]
    assert roles == [Role.KERNEL, Role.BIAS, Role.CLASS_KERNEL, Role.CLASS_BIAS]


@pytest.mark.parametrize(
    "weight, bias",
    [
        (("conv", "h.weight", (9, 8)), ("bias", "h.bias", (9,))),
        (("conv", "h.weight", (10, 8, 3, 3)), ("bias", "h.bias", (10,))),
        (("sep_conv", "h.weight", (10, 8)), ("bias", "h.bias", (10,))),
        (("conv", "h.weight", (10, 8)), ("glob_avg", None, None)),
        (("bias", "x.bias", (10,)), ("conv", "h.weight", (10, 8))),
    ],
)
def test_other_last_layers_are_ordinary(weight, bias):
    roles = {t.role for t in collect(("input", None, None), weight, bias)}
    assert roles <= {Role.KERNEL, Role.BIAS}


def test_a_repeated_use_of_a_classifier_has_no_name():
    assert collect(("conv", None, (10, 8)), ("bias", "h.bias", (10,))) == [
        Target("h.bias", 1, (10,), Role.CLASS_BIAS)
    ]


@pytest.mark.parametrize(
    "op, shape, reason",
    [
        ("conv", (8, 3, 3, 3, 3), r"has shape \(8, 3, 3, 3, 3\), but only 1 to 4 dimensions"),
        ("conv", (), r"has shape \(\), but only 1 to 4 dimensions"),
        ("conv", (0, 8), r"has shape \(0, 8\), which holds no values"),
        ("bias", (0,), r"has shape \(0,\), which holds no values"),
        ("conv", None, "has no shape"),
    ],
)
def test_parameters_that_cannot_be_decoded(op, shape, reason):
    with pytest.raises(DecodeError, match=f"'w' {reason}.*set `param_name`"):
        collect(("input", None, None), (op, "w", shape))
