r"""Table 6: initializations compared by training: how long they take, and what is reached after a
tenth, a half and all of the steps."""

from __future__ import annotations

from statistics import median

from tables.output import Table, mean_std
from tables.rows import Results
from tables.training import LARGEST, TRAINING, curves

ROWS = (LARGEST, TRAINING)


def report(larger: Results, trained: Results) -> list[Table]:
    reached = curves(trained)
    columns, cells = ["initialization", "time (s)"], {}
    for row in trained.rows:
        cells.setdefault(row["start"], [])
    for start, cell in cells.items():
        times = [r["init_seconds"] for r in trained.rows if r["start"] == start and "curve" in r]
        cell += [start, f"{median(times):.2g}" if times else None]
    for network, starts in reached.items():
        steps = [point["step"] for point in next(iter(starts.values()))[0]]
        stops = dict.fromkeys((steps[1], steps[len(steps) // 2], steps[-1]))
        columns += [f"{network} | {step} steps" for step in stops]
        for start, cell in cells.items():
            for step in stops:
                at = (p for curve in starts.get(start, ()) for p in curve if p["step"] == step)
                cell.append(mean_std(100 * point["test"] for point in at))
    notes = ["Mean and standard deviation over seeds. Time: the median over networks and seeds."]
    notes += [
        f"Weights are selected from {row['larger']}, trained to {100 * row['test']:.1f} in "
        f"{row['seconds']:.0f} s, which are not in the time."
        for row in larger.rows
    ]
    reasons = {(r["start"], r["not_applicable"]) for r in trained.rows if "not_applicable" in r}
    notes += [f"{start}: {reason.rstrip('.')}." for start, reason in sorted(reasons)]
    title = "Top-1 accuracy (%) on test images of networks trained from each initialization"
    return [Table(title, columns, cells.values(), notes)]
