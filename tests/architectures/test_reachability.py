from pyg_ghn.architectures import Genotype
from pyg_ghn.architectures.genotype import Live, live_parts

CONV = [["conv_3x3", 0], ["conv_1x1", 1]]
ALL = Live((True, True), (True, True))
NOTHING = Live((False, False), (False, False))


def live(normal, concat=(2,), reductions=(False, True, False), reduce=CONV):
    return live_parts(Genotype(normal, concat, reduce, [2]), reductions)


def test_everything_is_live_but_what_only_later_cells_would_read():
    assert live(CONV) == (ALL, ALL, ALL)


def test_dropped_step_is_dead():
    dropped = [*CONV, ["conv_3x3", 0], ["skip_connect", 1]]
    expected = Live((False, False, True, True), (True, True))
    assert live(dropped, concat=[3])[0] == expected
    kept = [*CONV, ["conv_3x3", 0], ["skip_connect", 2]]
    assert live(kept, concat=[3])[0] == Live((True, True, True, True), (True, True))


def test_none_cuts_off_an_input():
    none = [["none", 0], ["conv_1x1", 1]]
    assert live(none) == (Live((False, True), (False, True)), ALL, Live((False, True), (0, 1)))


def test_cell_that_nothing_reads_is_dead():
    first_only = [["conv_3x3", 0], ["none", 1]]
    parts = live(first_only, reductions=[False] * 4)
    half = Live((True, False), (True, False))
    assert parts == (NOTHING, half, NOTHING, half)


def test_data_does_not_get_through_an_absent_cell():
    nothing = [["none", 0], ["none", 1]]
    parts = live(CONV, reduce=nothing)  # the last cell's second input is absent
    assert parts == (ALL, NOTHING, Live((True, False), (True, False)))
    assert live(nothing) == (NOTHING, NOTHING, NOTHING)


def test_step_on_an_absent_state_is_absent():
    ops = [["none", 0], ["none", 1], ["conv_3x3", 2], ["conv_1x1", 1]]
    assert live(ops, concat=[2, 3])[0].ops == (False, False, False, True)
