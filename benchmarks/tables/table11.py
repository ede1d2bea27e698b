r"""Table 11: generalization to all splits without fine-tuning, beside random initialization that is
trained."""

from __future__ import annotations

from tables.checkpoints import CHECKPOINTS
from tables.finetuning import RANDOM, curves
from tables.options import DEEPNETS, PYTORCH
from tables.output import Table, mean_std
from tables.rows import Results
from tables.zero_step import ZERO_STEP

ROWS = (CHECKPOINTS, ZERO_STEP, RANDOM)


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table]:
    found = by_method(zero, tuned)
    splits = splits_of(found)
    about = {row["start"]: row for row in checkpoints.rows}
    rows = [["networks", None, None, None, *splits.values()]]
    for (start, steps, what), values in found.items():
        row = about.get(start, {})
        minutes = row.get("training", {}).get("minutes")
        known = row and f"{row['params'] / 1e6:.2f}", minutes and minutes / 60
        cells = []
        for split, count in splits.items():
            some = values.get(split, ())
            cells.append(mean_std(some) + f" ({len(some)})" * (len(some) < count) if some else None)
        rows.append([start + what, steps, known[0] or None, known[1], *cells])
    columns = ["method", "SGD steps", "params (M)", "train time (h)", *splits]
    title = "Top-1 accuracy (%) of all networks, mean and standard deviation"
    note = (
        "ALL is of the splits of DeepNets-1M. Calibrated: by unlabelled training images. In "
        "brackets: the number of networks, where a method has results of fewer."
    )
    return [Table(title, columns, rows, [note])]


def by_method(zero: Results, tuned: Results) -> dict[tuple[str, int, str], dict[str, list[float]]]:
    r"""Accuracies in % by start, steps, whether calibrated, and split, :obj:`ALL` included: random
    initialization after all steps, GHNs without any."""
    last = tuned.settings["steps"]
    networks = {name: curve[last] for name, curve in curves(tuned).get("random", {}).items()}
    methods = {("random", last, ""): networks} if networks else {}
    for row in zero.rows:
        for what, name in (("", "accuracy"), (", calibrated", "calibrated")):
            networks = methods.setdefault((row["start"], 0, what), {})
            networks[row["split"], row["network"]] = 100 * row[name]
    found = {}
    for method, networks in methods.items():
        found[method] = values = {split: [] for split in (*DEEPNETS, "ALL", PYTORCH)}
        for (split, _), accuracy in networks.items():
            for group in (split, "ALL") if split in DEEPNETS else (split,):
                values.setdefault(group, []).append(accuracy)
    return found


def splits_of(found: dict) -> dict[str, int]:
    r"""The splits that there are results of, each with its number of networks."""
    names = dict.fromkeys(split for values in found.values() for split in values)
    counts = {name: max(len(values.get(name, ())) for values in found.values()) for name in names}
    return {name: count for name, count in counts.items() if count}
