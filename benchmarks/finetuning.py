r"""The duel of starts: networks of a split fine-tuned from predicted and from random parameters on
the same terms, each start with its better learning rate and bound of the gradient's norm by
accuracy on validation images.

``python benchmarks/finetuning.py --num_networks 16`` appends a JSON line for each network, seed and
start to ``benchmarks/results/finetuning/NAME.jsonl``, goes on from there when started again with
the same settings, and writes the table beside it, as ``NAME.md``.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _measure import RESULTS
from jsonargparse import auto_cli

from pyg_ghn._files import atomic_path
from pyg_ghn._version import versions
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation.ranks import compare_pairs
from pyg_ghn.evaluation.splits import evaluation_networks
from pyg_ghn.images import get_image_data
from pyg_ghn.training import FinetuneConfig, compare


def main(
    name: str = "digits",
    checkpoint: str = "ghn3-digits",
    images: str = "digits",
    image_root: str | None = None,
    split: str = "test",
    first: int = 0,
    num_networks: int = 16,
    channels: int = 16,
    fc_dim: int = 64,
    steps: int = 50,
    evaluate_at: list[int] | None = None,
    lrs: list[float] | None = None,
    seeds: list[int] | None = None,
    clip: float = 1.0,
    threads: int = 1,
) -> None:
    """Compares starts.

    Args:
        name: Name of the files with results.
        checkpoint: The GHN, beside random initialization.
        images: Image set.
        image_root: Folder of the image set.
        split: Split of DeepNets-1M, or torchvision.
        first: The first network of the split.
        num_networks: Number of networks.
        channels: Width C of the first cells.
        fc_dim: Width of hidden classifier layers.
        steps: Steps of SGD, with a cosine.
        evaluate_at: Further steps after which to evaluate, 10 by default.
        lrs: Learning rates to choose from, 0.1, 0.02, 0.004 and 0.001 by default.
        seeds: Seeds, 0 by default.
        clip: Bound of the gradient's norm, tried beside none.
        threads: Torch threads.
    """
    torch.set_num_threads(threads)
    data = get_image_data(images, root=image_root)
    lrs, seeds = lrs or [0.1, 0.02, 0.004, 0.001], seeds or [0]
    config = FinetuneConfig(steps=steps, evaluate_at=evaluate_at or [10], clip=clip)
    settings = {
        "checkpoint": checkpoint, "images": images, "split": split, "channels": channels,
        "fc_dim": fc_dim, "lrs": lrs, "steps": steps, "evaluate_at": config.evaluate_at,
        "clips": [clip, None], "versions": versions(),
    }  # fmt: skip
    folder = RESULTS / "finetuning"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    rows = read(path, settings)
    done = {(row["network"], row["seed"]) for row in rows}
    starts = ["random", checkpoint, f"{checkpoint}:norms"]
    found = evaluation_networks(split, data, first + num_networks, channels, fc_dim)[first:]
    for network in found:
        for seed in seeds:
            if (network.name, seed) in done:
                continue
            new = []
            for start in compare(network.build, starts, data, config, lrs, [seed]):
                new.append({"network": network.name, **start.to_dict()})
                print(network.name, start, flush=True)
            with path.open("a") as file:  # all starts or none
                file.write("".join(json.dumps(row) + "\n" for row in new))
            rows += new
    tables = [summary(rows, settings, start) for start in starts[1:]]
    table = "\n".join(tables)
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text(table)
    print(table)


def read(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier run, whose settings are the first line."""
    if not path.exists():
        path.write_text(json.dumps(settings) + "\n")
        return []
    before, *rows = map(json.loads, path.read_text().splitlines())
    changed = [key for key in settings if key != "versions" and before.get(key) != settings[key]]
    if changed:
        raise ConfigError(f"{path} was begun with other {', '.join(changed)}: choose another name.")
    return rows


def summary(rows: list[dict[str, Any]], settings: dict[str, Any], start: str) -> str:
    """Wins, gains and losses of a start at each evaluation."""
    steps = sorted({0, *settings["evaluate_at"], settings["steps"]})
    pairs: dict[tuple[str, int], dict[str, dict[int, float]]] = defaultdict(dict)
    for row in rows:
        curve = {step: 100 * row["curve"][-1]["test"] for step in steps}  # of a run that diverged
        curve |= {point["step"]: 100 * point["test"] for point in row["curve"]}
        pairs[row["network"], row["seed"]][row["init"]] = curve
    both = [(pair[start], pair["random"]) for pair in pairs.values()]
    networks, seeds = (len(set(values)) for values in zip(*pairs, strict=True))
    lines = [
        f"# {start} against random initialization: {settings['images']}, {settings['split']}",
        "",
        f"{networks} networks, {seeds} seed(s), {settings['steps']} steps of SGD with a cosine, "
        f"learning rates {settings['lrs']}, clipped at {settings['clips'][0]} or not, chosen by "
        "validation accuracy. Test accuracies in %.",
        "",
        "| steps | wins | p (sign test) | predicted | random | mean gain where it wins | mean loss "
        "where it loses | largest loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in steps:
        sides = [[curve[step] for curve in curves] for curves in zip(*both, strict=True)]
        found = compare_pairs(*sides)
        cells = (
            step,
            f"{found.wins} of {found.pairs}",
            f"{found.p:.2g}",
            *(f"{fmean(side):.1f}" for side in sides),
            f"{found.mean_gain:.1f}",
            f"{found.mean_loss:.1f}",
            f"{found.max_loss:.1f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    auto_cli(main, as_positional=False)
