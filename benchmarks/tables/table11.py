r"""Table 11: generalization to all splits without fine-tuning, beside random initialization that is
trained."""

from __future__ import annotations

from collections import defaultdict

from tables.checkpoints import CHECKPOINTS
from tables.finetuning import RANDOM, curves
from tables.options import DEEPNETS
from tables.output import Table, mean_std
from tables.rows import Results
from tables.zero_step import ZERO_STEP

ROWS = (CHECKPOINTS, ZERO_STEP, RANDOM)


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table]:
    found = by_method(zero, tuned)
    splits = list(dict.fromkeys(split for values in found.values() for split in values))
    about = {row["start"]: row for row in checkpoints.rows}
    rows = [["networks", None, None, None, *(_most(found, split) for split in splits)]]
    for (start, steps, what), values in found.items():
        row = about.get(start, {})
        minutes = row.get("training", {}).get("minutes")
        known = row and f"{row['params'] / 1e6:.2f}", minutes and minutes / 60
        means = (mean_std(values.get(split, ())) for split in splits)
        rows.append([start + what, steps, known[0] or None, known[1], *means])
    columns = ["method", "SGD steps", "params (M)", "train time (h)", *splits]
    title = "Top-1 accuracy (%) of all networks, mean and standard deviation"
    note = "ALL is of the splits of DeepNets-1M. Calibrated: by unlabelled training images."
    return [Table(title, columns, rows, [note])]


def by_method(zero: Results, tuned: Results) -> dict[tuple[str, int, str], dict[str, list[float]]]:
    r"""Accuracies in % by start, steps, whether calibrated, and split, :obj:`ALL` included: random
    initialization after all steps, GHNs without any."""
    found = defaultdict(lambda: defaultdict(list))
    last = tuned.settings["steps"]
    for (split, _), curve in curves(tuned).get("random", {}).items():
        found["random", last, ""][split].append(curve[last])
    for row in zero.rows:
        for what, name in (("", "accuracy"), (", calibrated", "calibrated")):
            found[row["start"], 0, what][row["split"]].append(100 * row[name])
    for values in found.values():
        if own := [values[split] for split in DEEPNETS if split in values]:
            after = {split: values.pop(split) for split in [*values] if split not in DEEPNETS}
            values["ALL"] = [value for part in own for value in part]
            values.update(after)
    return found


def _most(found: dict, split: str) -> int:
    return max(len(values.get(split, ())) for values in found.values())
