import json

import pytest

from pyg_ghn.architectures import Genotype
from pyg_ghn.architectures.genotype import Live, live_parts
from pyg_ghn.errors import ArchitectureError

OPS = [["conv_3x3", 0], ["skip_connect", 1], ["none", 2], ["max_pool_3x3", 0]]
ONE = [["conv_3x3", 0], ["skip_connect", 1]]


def test_dict_round_trip_and_attention_that_makes_a_vit():
    genotype = Genotype(OPS, range(2, 4), ONE, [2])
    data = json.loads(json.dumps(genotype.to_dict()))
    assert data["normal"] == OPS and data["normal_concat"] == [2, 3]
    assert Genotype.from_dict(data) == genotype
    assert Genotype.from_dict(genotype) is genotype
    assert genotype.cell(reduction=True) == ((("conv_3x3", 0), ("skip_connect", 1)), (2,))
    assert hash(genotype) == hash(Genotype.from_dict(data))
    with pytest.raises(ArchitectureError, match="exactly the keys"):
        Genotype.from_dict({"normal": ONE, "normal_concat": [2]})
    with pytest.raises(ArchitectureError, match="exactly the keys"):
        Genotype.from_dict("DARTS")
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


CONV = [["conv_3x3", 0], ["conv_1x1", 1]]
ALL = Live((True, True), (True, True))
NOTHING = Live((False, False), (False, False))


def live(normal, concat=(2,), reductions=(False, True, False), reduce=CONV):
    return live_parts(Genotype(normal, concat, reduce, [2]), reductions)


def test_everything_is_live_but_inputs_cut_off_or_for_later_cells():
    assert live(CONV) == (ALL, ALL, ALL)
    none = [["none", 0], ["conv_1x1", 1]]
    assert live(none) == (Live((False, True), (False, True)), ALL, Live((False, True), (0, 1)))


def test_dead_and_absent_steps():
    dropped = [*CONV, ["conv_3x3", 0], ["skip_connect", 1]]
    expected = Live((False, False, True, True), (True, True))
    assert live(dropped, concat=[3])[0] == expected
    kept = [*CONV, ["conv_3x3", 0], ["skip_connect", 2]]
    assert live(kept, concat=[3])[0] == Live((True, True, True, True), (True, True))
    ops = [["none", 0], ["none", 1], ["conv_3x3", 2], ["conv_1x1", 1]]
    assert live(ops, concat=[2, 3])[0].ops == (False, False, False, True)


def test_cells_that_nothing_reads_or_gets_through_are_dead():
    first_only = [["conv_3x3", 0], ["none", 1]]
    parts = live(first_only, reductions=[False] * 4)
    half = Live((True, False), (True, False))
    assert parts == (NOTHING, half, NOTHING, half)
    nothing = [["none", 0], ["none", 1]]
    parts = live(CONV, reduce=nothing)  # the last cell's second input is absent
    assert parts == (ALL, NOTHING, Live((True, False), (True, False)))
    assert live(nothing) == (NOTHING, NOTHING, NOTHING)
