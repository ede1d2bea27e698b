r"""Rankings of networks, and pairs of starts: how far one agrees with or beats another."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from pyg_ghn.errors import ConfigError


class RankCorrelation(NamedTuple):
    r"""Agreement of two rankings.

    Attributes:
        tau: Kendall's tau-b, from -1 to 1; NaN where one side ranks nothing above anything.
        p: Two-sided probability of one as far from 0 between independent rankings.
        count: The number of networks that both rank.
        missing: The others.
    """

    tau: float
    p: float
    count: int
    missing: list[str]


def rank_correlation(first: Mapping[str, Any], second: Mapping[str, Any]) -> RankCorrelation:
    r"""Kendall's tau-b between two rankings of networks (Table 13 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper).

    Args:
        first (dict): Name of a network to its score, the higher, the better. What is no number,
            as the error of a proxy, :obj:`None` or NaN, is missing.
        second (dict): The other scores.
    """
    from scipy.stats import kendalltau  # takes as long to import as all the rest

    names = list(dict.fromkeys([*first, *second]))
    both = [n for n in names if _is_number(first.get(n)) and _is_number(second.get(n))]
    missing = [name for name in names if name not in set(both)]
    if len(both) < 2:
        return RankCorrelation(math.nan, math.nan, len(both), missing)
    found = kendalltau([first[name] for name in both], [second[name] for name in both])
    return RankCorrelation(float(found.statistic), float(found.pvalue), len(both), missing)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


class PairedComparison(NamedTuple):
    r"""What one start reaches beside another.

    Attributes:
        pairs: The number of pairs.
        wins: In how many ours is better.
        losses: In how many it is worse.
        mean_gain: By how much ours is better where it wins, in the mean; 0 where it never does.
        mean_loss: By how much it is worse where it loses, in the mean.
        max_loss: By how much it is worse at most.
        p: Two-sided p-value of the sign test: the probability of at least as uneven wins and
            losses of equal starts. Ties do not count.
    """

    pairs: int
    wins: int
    losses: int
    mean_gain: float
    mean_loss: float
    max_loss: float
    p: float


def compare_pairs(ours: Sequence[float], theirs: Sequence[float]) -> PairedComparison:
    r"""Sums up the accuracies of pairs, such as the same network from two starts (Table 4).

    Args:
        ours (sequence): The accuracies of one start.
        theirs (sequence): Those of the other, in the same order.

    Raises:
        ConfigError: If there are not as many, or one is no number.
    """
    from scipy.stats import binomtest

    if len(ours) != len(theirs) or not all(map(_is_number, [*ours, *theirs])):
        raise ConfigError(
            f"Pairs need as many numbers on both sides, got {len(ours)} and {len(theirs)}; leave "
            "out pairs without a result."
        )
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    gains = [d for d in differences if d > 0]
    losses = [-d for d in differences if d < 0]
    decided = len(gains) + len(losses)
    return PairedComparison(
        pairs=len(differences),
        wins=len(gains),
        losses=len(losses),
        mean_gain=sum(gains) / max(len(gains), 1),
        mean_loss=sum(losses) / max(len(losses), 1),
        max_loss=max(losses, default=0.0),
        p=float(binomtest(len(gains), decided).pvalue) if decided else 1.0,
    )
