import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from pyg_ghn.architectures import (
    SPLITS,
    Genotype,
    count_parameters,
    draw_width,
    sample_net_args,
    split_net_args,
)
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.architectures.sampler import _sample_cell
from pyg_ghn.errors import ArchitectureError


def rng(seed=0):
    return np.random.default_rng(seed)


def sample(split, num, seed=0):
    generator = rng(seed)
    return [sample_net_args(split, generator) for _ in range(num)]


def share(nets, condition):
    return np.mean([condition(net) for net in nets])


def genotype(net):
    return Genotype.from_dict(net["genotype"])


def test_only_the_generator_or_seed_decides():
    np.random.seed(1)
    torch.manual_seed(1)
    first = sample("train", 20)
    np.random.seed(2)
    torch.manual_seed(2)
    assert sample("train", 20) == first
    assert sample("train", 20, seed=1) != first
    assert json.loads(json.dumps(first)) == first
    test = list(split_net_args("test", 30))
    assert test == list(split_net_args("test", 30))
    assert test == list(split_net_args("wide", 30))
    assert test != list(split_net_args("test", 30, seed=5))
    for other in ("train", "val", "bnfree"):
        genotypes = [net["genotype"] for net in split_net_args(other, 30)]
        assert genotypes != [net["genotype"] for net in test]
    assert "C" not in next(split_net_args("train"))
    assert {"C", "fc_dim"} <= set(test[0])
    assert sum(1 for _ in split_net_args("wide")) == 100
    with pytest.raises(ArchitectureError, match="Unknown split 'tran'; choose from train, val"):
        sample_net_args("tran", rng())
    with pytest.raises(ArchitectureError, match="Unknown split"):
        split_net_args("tran")


@pytest.mark.parametrize("split", SPLITS)
def test_rules_of_the_split(split):
    kind = SPLITS[split]
    low, medium, high = kind.steps
    for net in sample(split, 100):
        for images, side in (("cifar10", 32), ("imagenet", 224)):
            count = count_parameters(net, input_size=(3, side, side))
            assert count == net["num_params"][images] <= kind.max_params
        normal, reduce = net["genotype"]["normal"], net["genotype"]["reduce"]
        steps, layers, names = len(normal) // 2, net["n_cells"], genotype(net).operations
        assert kind.layers[0] <= layers <= kind.layers[1]
        assert low <= steps <= (medium if layers > kind.deep_thresholds[-1] else high)
        assert len(reduce) == len(normal) and ("none" not in names or steps > 1)
        assert net["genotype"]["normal_concat"] == net["genotype"]["reduce_concat"]
        assert net["genotype"]["normal_concat"][-1] == 1 + steps
        for cell in ([name for name, _ in normal], [name for name, _ in reduce]):
            assert cell.count("cse") <= 1
            assert cell.count("conv_5x5") + cell.count("conv_7x7") <= 1
        assert any("conv" in name for name in names) or ("msa" in names and "cse" not in names)
        assert net["preproc"] or (steps == 1 and net["C_mult"] == 1)
        assert net["glob_avg"] or ("msa" not in names and layers <= kind.deep_thresholds[-1])
        assert not net["stem_pool"] or net["stem_type"] == 0
        shallow = layers <= kind.layers[0] + 1 and steps <= medium
        assert kind.no_norm[not shallow] > 0 or net["norm"] == "bnorm"
        assert kind.no_norm[not shallow] < 1 or net["norm"] is None
        assert all(live.cell for live in NetworkPlan(**network_arguments(net)).live_cells)


def test_probabilities():
    def steps(net):
        return len(net["genotype"]["normal"]) // 2

    nets, search = sample("train", 2000), sample("search", 1500)
    for drawn, layers, most in ((nets, 5, 2), (search, 7, 3)):
        shallow = [net for net in drawn if net["n_cells"] <= layers and steps(net) <= most]
        assert share(shallow, lambda n: n["norm"] is None) == pytest.approx(0.5, abs=0.1)
    assert share(nets, lambda n: n["stem_type"]) == pytest.approx(0.5, abs=0.05)
    assert share(nets, lambda n: n["stem_pool"]) == pytest.approx(0.25, abs=0.05)
    flat = [n for n in nets if n["n_cells"] <= 7 and not genotype(n).is_vit]
    assert share(flat, lambda n: n["glob_avg"]) == pytest.approx(0.9, abs=0.03)
    free = [n for n in nets if steps(n) == 1 and n["C_mult"] == 1]
    vit = [n for n in free if genotype(n).is_vit]
    assert share(vit, lambda n: n["preproc"]) == pytest.approx(0.2, abs=0.1)
    assert all(n["preproc"] for n in free if n not in vit)
    free = [n for n in search if steps(n) == n["C_mult"] == 1 and not genotype(n).is_vit]
    assert share(free, lambda n: n["preproc"]) == pytest.approx(0.8, abs=0.1)


def test_cells_are_those_of_the_best_scores():
    # What the scores would give: for every step the 2 states of largest score, each with its best
    # operation. Compared by the frequencies of pairs of states and of operations.
    def scored_cell(steps, names, generator):
        ops = []
        for state in range(2, 2 + steps):
            scores = np.exp(1e-3 * generator.standard_normal((state, len(names))))
            scores /= scores.sum(axis=1, keepdims=True)
            for source in np.argsort(-scores.max(axis=1))[:2]:
                ops.append((names[scores[source].argmax()], int(source)))
        return ops

    names, steps, draws, generator = ("a", "b", "c"), 3, 6000, rng()
    drawn, scored = Counter(), Counter()
    for _ in range(draws):
        for counts, cell in ((drawn, _sample_cell), (scored, scored_cell)):
            ops = cell(steps, names, generator)
            counts.update((step, *ops[2 * step], *ops[2 * step + 1]) for step in range(steps))
    keys = set(drawn) | set(scored)
    assert len(keys) == 9 * (2 + 6 + 12)
    for step, possible in enumerate((2, 6, 12)):
        expected = draws / (9 * possible)
        for counts in (drawn, scored):
            deviations = [(counts[k] - expected) ** 2 / expected for k in keys if k[0] == step]
            assert sum(deviations) < len(deviations) + 5 * (2 * len(deviations)) ** 0.5


def test_widths_at_evaluation_and_without_a_count():
    assert SPLITS["wide"].widened(32) == 128
    assert SPLITS["wide"].widened(32, (3, 224, 224)) == 64
    assert SPLITS["test"].widened(32) == 32
    net = next(islice(split_net_args("train"), 1))
    counted = draw_width({**net, "num_params": None}, rng())
    assert counted == draw_width(net, rng())


NARROW = {
    "genotype": Genotype([["conv_3x3", 0], ["msa", 1]], [2], [["cse", 0], ["none", 1]], [2]),
    **{"n_cells": 5, "glob_avg": True, "stem_type": 0, "stem_pool": True},
    "num_params": {"cifar10": 100_000, "imagenet": 10**7},
}
DENSE = Genotype([["conv_5x5", 0], ["msa", 1]], [2], [["cse", 0], ["none", 1]], [2])


@pytest.mark.parametrize(
    ("changes", "choices", "wide_choices"),
    [
        ({}, 7, 7),
        ({"num_params": {"cifar10": 300_000}}, 3, 5),
        ({"num_params": {"cifar10": 500_000}}, 2, 4),
        ({"num_params": {"cifar10": 900_000}}, 1, 4),
        ({"num_params": {"cifar10": 2_100_000}}, 1, 1),
        ({"n_cells": 9}, 3, 5),
        ({"n_cells": 11}, 2, 4),
        ({"n_cells": 13}, 1, 4),
        ({"n_cells": 15}, 1, 1),
        ({"stem_pool": False}, 7, 7),
        ({"glob_avg": False}, 1, 1),
        ({"genotype": DENSE}, 1, 1),
    ],
)
def test_widths_and_strides(changes, choices, wide_choices):
    for wide, number in ((False, choices), (True, wide_choices)):
        generator = rng()
        drawn = [draw_width({**NARROW, **changes}, generator, wide) for _ in range(400)]
        assert {width["C"] for width in drawn} == {32 + 16 * i for i in range(number)}
        wide_heads = {width["C"] for width in drawn if width["fc_dim"] > 256}
        assert wide_heads == ({32, 48, 64} if number == 7 else set())
        assert {width["fc_dim"] for width in drawn} >= {64, 128, 192, 256}
        assert max(width["fc_dim"] for width in drawn) == (512 if number == 7 else 256)
        strides = {2, 4} if wide and not changes else {4}
        assert {width["imagenet_stride"] for width in drawn} == strides
