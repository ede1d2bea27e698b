r"""Table 4: how often predicted parameters are the better start, by how much, and by how much they
lose where they do."""

from __future__ import annotations

from statistics import fmean

from pyg_ghn.evaluation import compare_pairs
from tables.finetuning import KINDS, PREDICTED, Curves, curves, evaluated, in_kind
from tables.output import Table
from tables.rows import Results

ROWS = (PREDICTED,)


def report(tuned: Results) -> list[Table]:
    reached, steps = curves(tuned), evaluated(tuned)
    random = reached.pop("random", {})
    last = steps[-1]
    paper = f"Against random initialization after all {last} steps of SGD, as in the paper"
    tables = [Table(paper, COLUMNS, rows(reached, random, {step: last for step in steps}))]
    same = {step: step for step in steps[:-1]}
    title = "Against random initialization after as many steps"
    notes = [NOTE, *[BEST] * any(start.endswith(":best") for start in reached)]
    return [*tables, Table(title, COLUMNS, rows(reached, random, same), notes)]


COLUMNS = (
    *("method", "networks", "steps", "wins", "p", "avg gain", "avg loss", "largest loss"),
    *("predicted", "random"),
)
NOTE = (
    "Accuracies in %, the means over seeds, of networks trained from both. p: two-sided sign test "
    "over networks. Gains are those where the GHN wins, losses those where it loses."
)
BEST = (
    "Best: of the whole prediction and its norms alone what has the better accuracy on validation "
    "images after all steps."
)


def rows(reached: dict[str, Curves], random: Curves, steps: dict[int, int]) -> list[list]:
    r"""A row for each start, kind of network and step, whose value says after how many steps random
    initialization is the opponent."""
    found = []
    for start, networks in reached.items():
        for kind in KINDS:
            both = in_kind(networks.keys() & random.keys(), kind)
            for step, opponent in steps.items() if both else ():
                ours = [networks[name][step] for name in both]
                theirs = [random[name][opponent] for name in both]
                won = compare_pairs(ours, theirs)
                shares = f"{won.wins / won.pairs:.0%} of {won.pairs}", f"{won.p:.2g}"
                means = won.mean_gain, won.mean_loss, won.max_loss, fmean(ours), fmean(theirs)
                found.append([start, kind, step, *shares, *means])
    return found
