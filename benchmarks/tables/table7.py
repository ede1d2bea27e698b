r"""Table 7: transfer to other images of which few have labels."""

from __future__ import annotations

from collections import defaultdict

from tables.output import Table, mean_std
from tables.rows import Results
from tables.transfer import TRANSFER

ROWS = (TRANSFER,)


def report(transferred: Results) -> list[Table]:
    given = transferred.settings
    title = (
        f"Top-1 accuracy (%) with {given['labels']} labels of {given['target']}, pretraining on "
        f"{given['images']}"
    )
    notes = [
        "Mean and standard deviation over seeds, which the choice of labelled images depends on, "
        "too. Noise on predicted parameters, learning rate and weight decay are the best on a "
        "fifth of these images."
    ]
    if given["target"] == given["images"]:
        notes.append("Both are the same images, as no others were found: this is no transfer.")
    return [by_pretraining(title, transferred, "test", notes)]


def by_pretraining(title: str, results: Results, measure: str, notes: list[str]) -> Table:
    r"""A row for each start without and with pretraining, a column for each network."""
    networks = dict.fromkeys(row["network"] for row in results.rows)
    found: dict[tuple[bool, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in results.rows:
        found[row["pretrained"], row["start"]][row["network"]].append(100 * row[measure])
    steps = f"{results.settings['pretrain_steps']} steps"
    rows = [
        [start, steps if pretrained else "no", *(mean_std(values[name]) for name in networks)]
        for (pretrained, start), values in sorted(found.items(), key=lambda item: item[0][0])
    ]
    return Table(title, ["initialization", "pretraining", *networks], rows, notes)
