r"""Table 5: ablations by the accuracy of the best networks after fine-tuning."""

from __future__ import annotations

from tables.checkpoints import CHECKPOINTS
from tables.finetuning import KINDS, PREDICTED, curves, in_kind, top
from tables.output import Table, mean_std
from tables.rows import Results, Row
from tables.zero_step import ZERO_STEP

ROWS = (CHECKPOINTS, ZERO_STEP, PREDICTED)


def report(checkpoints: Results, zero: Results, tuned: Results) -> list[Table]:
    columns = ("SA", "FW", "BW", "centrality", "distance", "penalty", "gamma")
    return [ablations(columns, checkpoints, zero, tuned)]


def ablations(
    columns: tuple[str, ...], checkpoints: Results, zero: Results, tuned: Results
) -> Table:
    r"""Accuracy of the top 10 after all steps, beside some of what :func:`differences` tells."""
    reached, rows, last = curves(tuned), [], tuned.settings["steps"]
    kinds = [kind for kind in KINDS if in_kind(reached.get("random", ()), kind)]
    for row in [*checkpoints.rows, {"start": "random"}]:
        start, networks = row["start"], reached.get(row["start"], {})
        best = [top(zero, tuned, start, kind) for kind in kinds]
        values = ([networks[name][last] for name in names if name in networks] for names in best)
        known = differences(row) if "config" in row else {}
        rows.append([start, *map(known.get, (*columns, "params")), *map(mean_std, values)])
    title = f"Ablations: top-1 accuracy (%) of the top 10 networks after {last} steps of SGD"
    heads = ["model", *columns, "params", *(f"accuracy | {kind}-10" for kind in kinds)]
    return Table(title, heads, rows)


def differences(row: Row) -> Row:
    r"""What ablations differ in."""
    config, training = row["config"], row["training"]
    edges, marks = config.get("edge_bias"), {True: "✓", False: None}
    return {
        "SA": marks[config.get("num_layers", 0) > 0],
        "FW": marks[edges in ("both", "forward")],
        "BW": marks[edges == "both"],
        "centrality": marks[bool(config.get("centrality"))],
        "distance": marks[bool(config.get("input_distance"))],
        "decoder": "x".join(map(str, config["max_shape"])),
        "penalty": training.get("penalty", "norm" if "gamma" in training else None),
        "gamma": f"{training['gamma']:g}" if "gamma" in training else None,
        "weight decay": f"{training['weight_decay']:g}" if "weight_decay" in training else None,
        "params": f"{row['params'] / 1e6:.2f}M",
    }
