import pytest

from pyg_ghn.architectures import Genotype, network_from_args
from pyg_ghn.datasets.shapes import is_large, shape_formulas, unit_values

CELL = [["conv_3x3", 0], ["skip_connect", 1]], [2], [["sep_conv_3x3", 0], ["cse", 1]], [2]
ODD = {
    "genotype": Genotype(*CELL).to_dict(),
    "n_cells": 5,
    "ks": 15,
    "imagenet_stride": 2,
    "fc_layers": 3,
}


@pytest.mark.parametrize(
    ("size", "classes", "width"),
    [
        ((3, 32, 32), 10, {"C": 32, "fc_dim": 64}),
        ((1, 64, 32), 7, {"C": 48, "fc_dim": 14}),
        ((3, 224, 224), 1000, {"C": 128, "fc_dim": 512}),
        ((4, 288, 352), 22, {"C": 64, "fc_dim": 192}),
    ],
)
def test_shapes_are_those_of_the_network(records, size, classes, width):
    for net_args in [*(record.net_args for record in records), ODD]:
        args = net_args | width
        network = network_from_args(args, classes, size, device="meta")
        units = unit_values(args, classes, size)
        shapes = {
            name: tuple(
                units[unit] * (large if is_large(size) else small) for unit, small, large in formula
            )
            for name, formula in shape_formulas(net_args).items()
        }
        expected = {name: tuple(p.shape) for name, p in network.named_parameters()}
        assert shapes == expected and list(shapes) == list(expected)
