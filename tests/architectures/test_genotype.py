import json

import pytest

from pyg_ghn.architectures import Genotype
from pyg_ghn.errors import ArchitectureError

OPS = [["conv_3x3", 0], ["skip_connect", 1], ["none", 2], ["max_pool_3x3", 0]]
ONE = [["conv_3x3", 0], ["skip_connect", 1]]


def test_dict_round_trip():
    genotype = Genotype(OPS, range(2, 4), ONE, [2])
    data = json.loads(json.dumps(genotype.to_dict()))
    assert data["normal"] == OPS and data["normal_concat"] == [2, 3]
    assert Genotype.from_dict(data) == genotype
    assert Genotype.from_dict(genotype) is genotype
    assert genotype.cell(reduction=True) == ((("conv_3x3", 0), ("skip_connect", 1)), (2,))
    assert hash(genotype) == hash(Genotype.from_dict(data))


def test_any_attention_makes_a_vit():
    assert Genotype(ONE, [2], [["msa", 0], ["none", 1]], [2]).is_vit
    assert not Genotype(ONE, [2], ONE, [2]).is_vit


@pytest.mark.parametrize(
    ("normal", "concat", "message"),
    [
        ([["conv_2x2", 0], ["none", 1]], [2], "'conv_2x2', is unknown"),
        ([["none", 0], ["conv_3x3", 2]], [2], "reads state 2, but at that step only states 0 to 1"),
        ([["none", 0], ["conv_3x3", -1]], [2], "reads state -1"),
        ([["none", 0], ["conv_3x3", 0.5]], [2], r"\(name, state\) pairs"),
        ([["none", 0], "conv"], [2], r"\(name, state\) pairs"),
        ([["none", 0]], [2], "two operations for each step, got 1"),
        ([], [2], "two operations for each step, got 0"),
        (ONE, [], "states 2 to 2"),
        (ONE, [1], "states 2 to 2"),
        (ONE, [3], "states 2 to 2"),
        (ONE, "23", "states 2 to 2"),
    ],
)
def test_invalid_cells(normal, concat, message):
    with pytest.raises(ArchitectureError, match=message):
        Genotype(normal, concat, ONE, [2])
    with pytest.raises(ArchitectureError, match=message):
        Genotype(ONE, [2], normal, concat)


def test_invalid_dict():
    with pytest.raises(ArchitectureError, match="exactly the keys"):
        Genotype.from_dict({"normal": ONE, "normal_concat": [2]})
    with pytest.raises(ArchitectureError, match="exactly the keys"):
        Genotype.from_dict("DARTS")
