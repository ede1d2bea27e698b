import copy
import pickle
from itertools import islice
from math import prod

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pyg_ghn.architectures import (
    OPERATIONS,
    SPLITS,
    Genotype,
    Network,
    count_parameters,
    network_from_args,
    split_net_args,
)
from pyg_ghn.errors import ArchitectureError, GraphError
from pyg_ghn.graph import from_module

CNN = Genotype([["conv_3x3", 0], ["skip_connect", 1]], [2], [["sep_conv_3x3", 0], ["cse", 1]], [2])
VIT = Genotype([["msa", 0], ["skip_connect", 1]], [2], [["max_pool_3x3", 0], ["none", 1]], [2])


ONE_STEP_CELLS = ([["conv_7x1_1x7", 0], ["sep_conv_3x3", 1]], [["skip_connect", 1], ["cse", 1]])
ONE_STEP = {"genotype": Genotype(ONE_STEP_CELLS[0], [2], ONE_STEP_CELLS[1], [2])}
ONE_STEP |= {"preproc": False, "C_mult": 2}


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def is_norm_bias(name, parameters):
    return name.endswith(".bias") and parameters[f"{name[:-5]}.weight"].dim() == 1


def test_names_and_counts_are_the_official_ones(golden):
    for i, net in enumerate(golden("deepnets")):
        network = network_from_args(net["net_args"], device="meta")
        large = network_from_args(net["net_args"], 1000, (3, 224, 224), device="meta")
        counts = net["num_params_cifar10"], net["num_params_imagenet"]
        assert (num_parameters(network), num_parameters(large)) == counts
        assert (network.plan.num_parameters, large.plan.num_parameters) == counts
        meta, counts = net["meta"], net["meta"]["num_params"]
        assert count_parameters(meta) == counts["cifar10"]
        assert count_parameters(meta, input_size=(3, 224, 224)) == counts["imagenet"]
        if i % 4 == 0:
            assert large(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)

        parameters, nodes = dict(network.named_parameters()), set(net["names"])
        unused = set(network.unused_parameters())
        assert nodes <= set(parameters) - unused
        rest = set(parameters) - nodes - unused
        assert all(is_norm_bias(name, parameters) for name in rest)
        without_node = {name for name in unused if not is_norm_bias(name, parameters)}
        assert without_node == set(net["params_without_node"])


@pytest.mark.parametrize("split", SPLITS)
def test_networks_of_every_split_run(split):
    for i, net_args in enumerate(islice(split_net_args(split), 3)):
        for side in (8, 32 if i == 0 else 16):
            network = network_from_args(net_args, 7, (1, side, side), C=16, fc_dim=8)
            out = network(torch.randn(2, 1, side, side))
            assert out.shape == (2, 7) and out.isfinite().all()


def test_unused_parameters_have_no_gradients_and_may_stay_on_meta(golden):
    for index in (7, 11, 38):  # unused preprocessing layers, and steps left out of the output
        network = network_from_args(golden("deepnets")[index]["net_args"], C=16)
        network(torch.randn(4, 3, 32, 32)).square().sum().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None]
        assert without and without == network.unused_parameters()
    for index in (7, 38):
        args = golden("deepnets")[index]["net_args"]
        network = network_from_args(args, C=16)
        skeleton = network_from_args(args, C=16, device="meta")
        predicted = dict(network.named_parameters())
        for name in network.unused_parameters():
            del predicted[name]
        images = torch.randn(2, 3, 32, 32)
        out = functional_call(skeleton, predicted, (images,))
        assert torch.equal(out, network(images))


def test_dead_cells_are_not_run_and_absent_states_are_zero():
    first_only = [["conv_3x3", 0], ["none", 1]]
    network = Network(Genotype(first_only, [2], first_only, [2]), 4, 16, stem_type=1)
    assert network.plan.live_stem1
    network = Network(Genotype(first_only, [2], first_only, [2]), 3, 16, stem_type=1)
    assert not network.plan.live_stem1
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    assert without == set(network.unused_parameters())
    assert {"stem1.1.weight", "cells.1._ops.0.op.1.weight"} <= without
    assert "stem0.0.weight" not in without
    ops = [["none", 0], ["conv_1x1", 1], ["none", 0], ["none", 1]]
    cell = Network(Genotype(ops, [2, 3], ops, [3, 2]), 3, 16).cells[0]
    x = torch.randn(2, 48, 8, 8)
    out = cell(None, x)
    assert out.shape == (2, 32, 8, 8)
    torch.testing.assert_close(out[:, :16], cell._ops[1](cell.preprocess1(x)))
    assert (out[:, 16:] == 0).all()


@pytest.mark.parametrize("stem_type", [0, 1])
def test_first_two_inputs_are_the_stem(stem_type):
    network, read = Network(CNN, 3, 16, input_size=(3, 16, 16), stem_type=stem_type), []
    network.cells[0].register_forward_pre_hook(lambda module, inputs: read.extend(inputs))
    network(torch.randn(2, 3, 16, 16))
    x0, x1 = read
    assert (x0 is x1) == (stem_type == 0)
    if stem_type:
        assert x0.shape == (2, 16, 16, 16) and x1.shape == (2, 16, 8, 8)


@pytest.mark.parametrize(("side", "grid"), [(8, 3), (32, 11), (224, 14)])
def test_position_encoding(side, grid):
    network = Network(VIT, 3, 16, input_size=(3, side, side), device="meta")
    assert network.pos_enc.weight.shape == (1, 16, grid, grid)
    assert network(torch.empty(1, 3, side, side, device="meta")).shape == (1, 10)


@pytest.mark.parametrize("size", [(8, 8), (16, 32), (32, 32), (64, 64), (96, 64), (224, 224)])
@pytest.mark.parametrize(
    "args", [{}, {"stem_pool": True}, {"stem_type": 1}, {"preproc": False}, {"genotype": VIT}]
)
def test_head_without_average(size, args):
    args = {"genotype": CNN, "n_cells": 6, "C": 16, "glob_avg": False, "fc_layers": 3, **args}
    network = Network(**args, num_classes=5, input_size=(2, *size), device="meta")
    assert network(torch.empty(2, 2, *size, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("stem_type", [0, 1])
def test_norms_and_their_parameters(stem_type):
    steps = [[name, i % 2] for i, name in enumerate(OPERATIONS) if name != "msa"]
    genotype = Genotype(steps, [8], steps, [8])
    options = {"C": 16, "stem_type": stem_type, "device": "meta"}
    plain, free, tracking = (
        Network(genotype, 3, norm=norm, **options) for norm in ("bnorm", None, "bn-track")
    )
    of_norms = {
        f"{name}.{parameter}"
        for name, module in plain.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in ("weight", "bias")
    }
    names, left = ([name for name, _ in network.named_parameters()] for network in (plain, free))
    assert left == [name for name in names if name not in of_norms] != names
    assert not list(plain.buffers())
    assert "cells.0._ops.4.op.3.running_mean" in tracking.state_dict()


def one_step_shapes():
    """What the specification gives for 6 cells of ONE_STEP with C=16, by hand."""

    def with_bias(name, *weight):
        return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}

    shapes = {"stem.0.weight": (16, 3, 3, 3)} | with_bias("stem.1", 16)
    for i, (a, b) in enumerate([(16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 64)]):
        if i in (2, 4):
            cell = {f"0.conv_{k}.weight": (b // 2, a, 1, 1) for k in (1, 2)} | with_bias("0.bn", b)
            cell |= with_bias("1.fc1", a // 2, a) | with_bias("1.fc2", a, a // 2)
        else:
            cell = {"0.op.1.weight": (a, a, 1, 7), "0.op.2.weight": (b, a, 7, 1)}
            cell |= with_bias("0.op.3", b)
            cell |= {"1.op.1.weight": (a, 1, 3, 3), "1.op.2.weight": (a, a, 1, 1)}
            cell |= with_bias("1.op.3", a)
            cell |= {"1.op.5.weight": (a, 1, 3, 3), "1.op.6.weight": (b, a, 1, 1)}
            cell |= with_bias("1.op.7", b)
        shapes |= {f"cells.{i}._ops.{name}": shape for name, shape in cell.items()}
    return shapes | with_bias("classifier.0", 10, 64)


def test_one_step_cells_widen_before_reductions_and_have_a_graph():
    network = Network(**ONE_STEP, n_cells=6, C=16)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes == one_step_shapes()
    count = count_parameters({**ONE_STEP, "n_cells": 6, "C": 16})
    assert count == num_parameters(network) == sum(prod(shape) for shape in shapes.values())
    out = network(torch.randn(2, 3, 32, 32))
    assert out.shape == (2, 10) and out.isfinite().all()
    out.square().sum().backward()
    assert not network.unused_parameters()
    parameters = dict(network.named_parameters())
    assert all(p.grad is not None for p in parameters.values())

    data = from_module(network)
    nodes = {n: s for n, s in zip(data.param_name, data.param_shape, strict=True) if n}
    assert nodes == {name: shapes[name] for name in nodes} and not data.unsupported
    assert all(is_norm_bias(name, parameters) for name in set(shapes) - set(nodes))


SEP_5 = [["sep_conv_5x5", 0], ["dil_conv_3x3", 1]]


@pytest.mark.parametrize(
    ("normal", "reduce", "args"),
    [
        (SEP_5, [["skip_connect", 1], ["conv_3x3", 1]], {"n_cells": 3}),  # widens twice in a row
        (SEP_5, [["skip_connect", 1], ["none", 0]], {"n_cells": 4, "stem_type": 1}),
        (SEP_5, [["max_pool_3x3", 1], ["cse", 1]], {"n_cells": 5, "glob_avg": False}),
        (SEP_5, [["msa", 1], ["skip_connect", 1]], {"n_cells": 5, "norm": None}),
        ([*SEP_5, ["conv_1x1", 2], ["conv_3x3", 1]], [["conv_1x1", 1]] * 2, {"n_cells": 2}),
    ],
)
def test_more_channels_without_preprocessing(normal, reduce, args):
    genotype = Genotype(normal, [1 + len(normal) // 2], reduce, [2])
    args = {"genotype": genotype, "C": 16, "preproc": False, "C_mult": 2, **args}
    network, large = Network(**args), Network(**args, input_size=(3, 224, 224), device="meta")
    out = network(torch.randn(2, 3, 32, 32))
    assert out.shape == (2, 10) and out.isfinite().all()
    assert large(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 10)
    for model in (network, large):
        assert num_parameters(model) == count_parameters(args, input_size=model.input_size)
        assert from_module(model).unsupported == []


def test_images_of_another_size():
    network = Network(CNN, 3, 16)
    with pytest.raises(ArchitectureError, match=r"built for images of size \(3, 32, 32\), got"):
        network(torch.randn(1, 3, 16, 16))
    with pytest.raises(GraphError, match=r"with input_size=\(3, 16, 16\)\. Check input_size"):
        from_module(network, (3, 16, 16))
    with pytest.raises(ArchitectureError, match=r"pad .* to 32x32"):
        Network(CNN, 3, 16, input_size=(1, 28, 28), stem_pool=True)


def test_reset_copy_pickle_and_repr():
    network = Network(VIT, 3, 16)
    assert repr(network) == "Network(3 cells, C=16, num_classes=10, input_size=(3, 32, 32))"
    clone = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    weights = [name for name, p in network.named_parameters() if p.dim() > 1]
    network.reset_parameters()
    old, new = dict(clone.named_parameters()), dict(network.named_parameters())
    assert weights and not any(torch.equal(old[name], new[name]) for name in weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_gives_the_same_output(golden):
    for index in (3, 7, 10):
        network = network_from_args(golden("deepnets")[index]["net_args"], C=16).double().eval()
        images = torch.randn(2, 3, 32, 32, dtype=torch.double)
        expected = network(images)
        torch.testing.assert_close(network.cuda()(images.cuda()).cpu(), expected)
