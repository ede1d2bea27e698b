import pytest

from pyg_ghn.architectures import Genotype, network_from_args
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments, reductions
from pyg_ghn.errors import ArchitectureError

CNN = Genotype([["conv_3x3", 0], ["skip_connect", 1]], [2], [["conv_1x1", 0], ["none", 1]], [2])
VIT = Genotype([["msa", 0], ["skip_connect", 1]], [2], [["conv_1x1", 0], ["none", 1]], [2])
ABSENT = Genotype([["none", 0], ["none", 1]], [2], [["conv_1x1", 0], ["none", 1]], [2])


def test_reduction_cells_and_sizes_that_need_no_padding():
    assert [sum(reductions(n)) for n in (1, 2, 3, 18)] == [0, 1, 2, 2]
    assert [i for i, reduction in enumerate(reductions(14)) if reduction] == [4, 9]
    assert NetworkPlan(CNN, 6, 16, input_size=(1, 28, 28)).sizes[1] == (7, 7)
    assert NetworkPlan(VIT, 6, 16, input_size=(3, 28, 30)).sizes[1] == (10, 10)


@pytest.mark.parametrize(
    ("genotype", "side", "args", "after_stem", "last"),
    [
        (CNN, 8, {}, 8, 2),
        (CNN, 32, {}, 32, 8),
        (CNN, 32, {"stem_pool": True}, 16, 4),
        (CNN, 32, {"stem_type": 1}, 16, 4),
        (CNN, 64, {"stem_type": 1}, 32, 8),
        (CNN, 224, {}, 56, 14),
        (CNN, 224, {"stem_pool": True}, 28, 7),
        (CNN, 224, {"stem_type": 1}, 28, 7),
        (CNN, 224, {"imagenet_stride": 2}, 112, 28),
        (VIT, 8, {}, 3, 3),
        (VIT, 32, {"stem_type": 1}, 11, 11),
        (VIT, 224, {}, 14, 14),
    ],
)
def test_sizes(genotype, side, args, after_stem, last):
    plan = NetworkPlan(genotype, 6, 16, input_size=(3, side, side), **args)
    assert plan.sizes == ((after_stem, after_stem), (last, last))


@pytest.mark.parametrize(
    ("genotype", "size", "args", "message"),
    [
        (CNN, (28, 28), {"stem_pool": True}, "28x28 have 7x7 pixels at cells.4.*pad.*to 32x32"),
        (CNN, (28, 28), {"stem_type": 1}, "7x7 pixels at cells.4.*to 32x32"),
        (CNN, (30, 32), {}, "30x32 have 15x16 pixels at cells.4.*to 32x32"),
        (CNN, (33, 33), {"stem_type": 1}, "33x33 pixels at stem1, which its stride 2"),
        (CNN, (2, 2), {}, "1x1 pixels at cells.4.*to 4x4"),
        (CNN, (230, 224), {}, "at stem.0, which its stride 4.*to 240x224"),
        (CNN, (224, 226), {"stem_type": 1}, "112x113 pixels at stem0.3"),
        (VIT, (225, 225), {}, "at stem0, which its stride 16.*to 240x240"),
    ],
)
def test_sizes_that_cannot_be_halved(genotype, size, args, message):
    with pytest.raises(ArchitectureError, match=message):
        NetworkPlan(genotype, 6, 16, input_size=(3, *size), **args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"input_size": (32, 32)}, "input_size must be"),
        ({"input_size": (3, 32, 0)}, "input_size must be"),
        ({"n_cells": 0}, "n_cells must be 1 or more, got 0"),
        ({"fc_layers": 0}, "fc_layers must be 1 or more"),
        ({"num_classes": 0}, "num_classes must be 1 or more"),
        ({"C": 15}, "C must be a positive multiple of 2 .*got 15"),
        ({"genotype": VIT, "C": 12}, "C must be a positive multiple of 8 .*got 12"),
        ({"ks": 4}, "ks must be a positive odd number, got 4"),
        ({"stem_type": 2}, "stem_type=2"),
        ({"stem_type": 1, "stem_pool": True}, "stem_pool=True"),
        ({"norm": "ln"}, "norm must be None, 'bnorm'.*got 'ln'"),
        ({"preproc": False, "C_mult": 2}, "C_mult must be 1"),
        ({"genotype": ABSENT}, "No data gets from the image to the output"),
    ],
)
def test_invalid_arguments(args, message):
    with pytest.raises(ArchitectureError, match=message):
        NetworkPlan(**{"genotype": CNN, "n_cells": 6, "C": 16, **args})


CONV, SEP = ("conv_3x3", 1), ("sep_conv_3x3", 0)
RED = [("max_pool_3x3", 1), ("none", 0)]


@pytest.mark.parametrize(
    ("normal", "reduce", "message"),
    [
        ([CONV, ("skip_connect", 0)], RED, r"cells.1._ops.1 \(skip_connect\) cannot turn 16 chan"),
        ([("avg_pool_3x3", 1), CONV], RED, r"cells.1._ops.0 \(avg_pool_3x3\) .* 16 .* into 32"),
        ([CONV, ("cse", 1)], RED, r"cells.1._ops.1 \(cse\) cannot turn 16 channels into 32"),
        ([("msa", 0), CONV], RED, r"cells.1._ops.0 \(msa\) cannot turn 16 channels into 32"),
        (
            [CONV, SEP],
            [("conv_3x3", 0), ("none", 1)],
            r"cells.2._ops.0 \(conv_3x3\) takes 32 .* but state 0 has 16: .* C_mult must be 1",
        ),
        ([CONV, SEP, CONV, SEP], RED, r"cells.2._ops.0 \(max_pool_3x3\) cannot turn 16 .* into 32"),
        ([CONV, SEP, CONV, SEP], [CONV, CONV], r"cells.3._ops.3 \(sep_conv_3x3\) takes 32"),
    ],
)
def test_channels_that_do_not_fit(normal, reduce, message):
    genotype = Genotype(normal, [1 + len(normal) // 2], reduce, [2])
    with pytest.raises(ArchitectureError, match=message):
        NetworkPlan(genotype, 6, 16, preproc=False, C_mult=2)
    NetworkPlan(genotype, 6, 16, C_mult=2)
    NetworkPlan(genotype, 6, 16, preproc=False)


def channels(genotype, n_cells, **args):
    cells = NetworkPlan(genotype, n_cells, 16, **args).cells
    return [(cell.in_channels[1], cell.operations[0].args[2]) for cell in cells]


def test_channels_without_preprocessing():
    genotype = Genotype([CONV, SEP], [2], [("conv_1x1", 1), ("skip_connect", 1)], [2])
    args = {"preproc": False, "C_mult": 2}
    assert channels(genotype, 1, **args) == [(16, 16)]
    assert channels(genotype, 3, **args) == [(16, 32), (32, 64), (64, 64)]
    six = [(16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 64)]
    assert channels(genotype, 6, **args) == six
    with_preproc = [(48, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    assert channels(genotype, 6, C_mult=2) == with_preproc
    # Cells of two steps do not widen before a reduction: the reduction cell itself does.
    two = [CONV, CONV, ("sep_conv_3x3", 1), ("skip_connect", 2)]
    args = {"preproc": False, "C_mult": 2}
    one_out, two_out = (Genotype(two, concat, two, concat) for concat in ([3], [2, 3]))
    assert channels(one_out, 3, **args) == [(16, 16), (16, 32), (32, 64)]
    assert channels(two_out, 3, **args) == [(16, 16), (32, 32), (64, 64)]
    assert channels(two_out, 3, preproc=False) == [(16, 16), (32, 16), (32, 16)]


def test_operations_that_are_never_run_need_not_fit():
    reduce = [CONV, CONV, ("max_pool_3x3", 1), ("cse", 1)]
    args = {"n_cells": 3, "C": 16, "preproc": False, "C_mult": 2}
    plan = NetworkPlan(Genotype([CONV, CONV], [2], reduce, [2]), **args)
    assert [cell.live.ops[2:] for cell in plan.cells] == [(), (False, False), (False, False)]
    with pytest.raises(ArchitectureError, match=r"cells.2._ops.2 \(max_pool_3x3\) cannot turn 32"):
        NetworkPlan(Genotype([CONV, CONV], [2], reduce, [3]), **args)


def test_arguments_of_a_data_set():
    net_args = {"genotype": CNN.to_dict(), "n_cells": 4, "num_nodes": 7, "num_params": {}}
    args = network_arguments(net_args, C=None, fc_dim=128)
    assert args == {"genotype": CNN.to_dict(), "n_cells": 4, "C": 32, "fc_dim": 128}
    plan = network_from_args(net_args, 3, (1, 8, 8), C=16, fc_dim=8).plan
    assert plan == NetworkPlan(CNN, 4, 16, 3, (1, 8, 8), fc_dim=8)
    with pytest.raises(ArchitectureError, match=r"\['cells'\] unknown, \['n_cells'\] missing"):
        network_arguments({"genotype": CNN, "cells": 4})
    for other in (7, "{}"):
        with pytest.raises(ArchitectureError, match=f"are a dictionary, .* got {other!r}"):
            network_arguments(other)
