import math

import pytest

from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.evaluation import compare_pairs, rank_correlation


def test_kendall_by_hand_with_ties_and_missing_values():
    first, second = {"a": 1, "b": 2, "c": 3, "d": 4}, {"d": 1.5, "c": 2.5, "b": 0.5, "a": 0.0}
    # pairs in order: ab ac ad bc bd; reversed: cd
    found = rank_correlation(first, second)
    assert found[:3] == pytest.approx((4 / 6, 1 / 3, 4)) and found.missing == []
    assert rank_correlation(first, first).tau == 1
    assert rank_correlation(first, {k: -v for k, v in first.items()}).tau == -1
    # 5 of 6 pairs are untied on the left, 3 on the right and on both: all in the same order
    found = rank_correlation({"a": 1, "b": 1, "c": 2, "d": 3}, {"a": 5, "b": 5, "c": 5, "d": 9})
    assert found.tau == pytest.approx(3 / math.sqrt(5 * 3))
    assert math.isnan(rank_correlation({"a": 1, "b": 2}, {"a": 3, "b": 3}).tau)
    first = {"a": 1e61, "b": -1e300, "c": math.inf, "d": 0}
    assert rank_correlation(first, {"a": 2, "b": 0, "c": 3, "d": 1}).tau == 1
    first = {"a": 1, "b": None, "c": 2, "d": math.nan, "e": GHNError("no"), "f": 3}
    found = rank_correlation(first, {"a": 1.0, "b": 2.0, "c": 3.0, "e": 0, "g": 2})
    assert found[0] == 1 and found.count == 2 and found.missing == ["b", "d", "e", "f", "g"]
    none = rank_correlation({"a": 1}, {"b": 1})
    assert math.isnan(none.tau) and none.count == 0 and none.missing == ["a", "b"]


def test_pairs_by_hand():
    found = compare_pairs([0.5, 0.75, 0.25, 0.5, 1.0], [0.25, 0.25, 0.5, 0.5, 0.25])
    assert found[:6] == (5, 3, 1, 0.5, 0.25, 0.25)
    # of 4 decided pairs at least 3 are won or lost: 2 * (4 + 1) / 16
    assert found.p == pytest.approx(10 / 16)
    assert compare_pairs([2] * 10, [1] * 10).p == pytest.approx(2 / 2**10)
    assert compare_pairs([], []) == (0, 0, 0, 0, 0, 0, 1)
    assert compare_pairs([1, 1], [1, 1]) == (2, 0, 0, 0, 0, 0, 1)
    with pytest.raises(ConfigError, match="got 2 and 1"):
        compare_pairs([1, 2], [1])
    with pytest.raises(ConfigError, match="leave out pairs"):
        compare_pairs([1, math.nan], [1, 2])
