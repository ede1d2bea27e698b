r"""Figure 4: network by network, where predicted parameters are the better start and where not."""

from __future__ import annotations

from matplotlib.figure import Figure

from pyg_ghn.drawing.style import SERIES
from tables.finetuning import PREDICTED, curves
from tables.output import PUBLISHED, Table, new_figure
from tables.rows import Results

ROWS = (PREDICTED,)


def report(tuned: Results) -> list[Table | Figure]:
    reached, last = curves(tuned), tuned.settings["steps"]
    random = reached.pop("random", {})
    duels = {
        start: sorted(
            (curve[last] - random[name][last], name)
            for name, curve in networks.items()
            if name in random
        )[::-1]
        for start, networks in reached.items()
    }
    longest = max((len(duel) for duel in duels.values()), default=1)
    size = {"width": 8.4, "height": 1.2 + 2.6 * max(1, len(duels))}
    figure, axes = new_figure(**size, nrows=max(1, len(duels)), squeeze=False)
    for i, (start, duel) in enumerate(duels.items()):
        ax, names = axes[i, 0], [name for _, name in duel]
        wins = sum(difference > 0 for difference, _ in duel)
        for j, (label, values) in enumerate((("random", random), (start, reached[start]))):
            heights = [values[name][last] for name in names]
            ax.scatter(range(len(names)), heights, s=22, color=SERIES[j], label=label, zorder=3)
        for place, (difference, name) in enumerate(duel):
            ends = random[name][last], reached[start][name][last]
            ax.plot([place, place], ends, color=SERIES[1 if difference > 0 else 2], linewidth=1)
        ax.axvline(wins - 0.5, color="#30343b", linewidth=0.9, linestyle=(0, (4, 3)))
        title = f"{start} wins {wins} of {len(duel)}, left of the line"
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xlim(-0.6, longest - 0.4)
        ticks = [name if split == "torchvision" else f"{split}/{name}" for split, name in names]
        ax.set_xticks(range(len(names)), ticks, rotation=90, fontsize=6)
        ax.set_ylabel(f"{last} steps, %", fontsize=9)
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return [_table(reached, random, tuned), figure]


def _table(reached: dict, random: dict, tuned: Results) -> Table:
    """All accuracies; on ImageNet beside those that the paper's authors published."""
    last, published, heads = tuned.settings["steps"], {}, []
    if tuned.settings["images"] == "imagenet":
        published = PUBLISHED["networks"]
        heads = [f"paper | {name}" for name in PUBLISHED["network_columns"]]
    rows = []
    for split, name in random:
        ours = (networks.get((split, name), {}).get(last) for networks in reached.values())
        theirs = (
            published.get(name, [None] * len(heads))
            if split == "torchvision"
            else [None] * len(heads)
        )
        rows.append([split, name, random[split, name][last], *ours, *theirs])
    columns = ["split", "network", "random", *reached, *heads]
    return Table(f"Top-1 accuracy (%) after {last} steps of SGD", columns, rows)
