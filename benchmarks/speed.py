r"""All speed figures in one run: ``python benchmarks/speed.py``. Writes ``results/speed.json``,
``.md`` and ``.png``; ``--parts graphs prediction`` measures some parts only, ``--quick`` less."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _measure as measuring
import speed_datasets
import speed_graphs
import speed_growth
import speed_levels
import speed_prediction
import speed_startup
import speed_targets
import speed_training
import torch
from torchvision import models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few models and repetitions")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    result: dict[str, Any] = {
        "environment": measuring.environment(quick=options.quick, parts=options.parts, seed=0),
        "floors": measuring.floors(),
    }
    for name in options.parts:
        result[name] = PARTS[name](result["floors"], options.quick)
        print(f"\n## {name}\n\n{measuring.table(result[name])}", flush=True)
    if not options.quick:  # which leaves out some of the models
        result["targets"] = speed_targets.rows(result)
        print(f"\n## targets\n\n{measuring.table(result['targets'])}")
    if result.keys() >= {"graphs", "growth", "training", "levels"}:
        result["exponents"] = speed_growth.rows(result)
        print(f"\n## exponents\n\n{measuring.table(result['exponents'])}")
        speed_growth.plot(result, options.out / "speed.png")
    print(f"\n{measuring.save('speed', result, _report(result), options.out)}")


def _graphs(floors: dict, quick: bool) -> list[dict[str, Any]]:
    return speed_graphs.measure(list(speed_prediction.MODELS) if quick else None)


def _prediction(floors: dict, quick: bool) -> list[dict[str, Any]]:
    sizes = ("ghn3-t", "ghn3-s") if quick else speed_prediction.SIZES
    return speed_prediction.measure(floors, sizes)


def _growth(floors: dict, quick: bool) -> list[dict[str, Any]]:
    names = speed_prediction.MODELS if quick else models.list_models(module=models)
    return speed_prediction.measure(floors, ("ghn3-t",), names, repeats=3)


def _training(floors: dict, quick: bool) -> list[dict[str, Any]]:
    sizes, steps = ((1, 8), 2) if quick else ((1, 2, 4, 8, 16), 10)
    return [speed_training.measure(size, steps) for size in sizes]


def _levels(floors: dict, quick: bool) -> list[dict[str, Any]]:
    return speed_levels.measure(quick)


def _datasets(floors: dict, quick: bool) -> list[dict[str, Any]]:
    return speed_datasets.measure(1000 if quick else 6000)


def _startup(floors: dict, quick: bool) -> list[dict[str, Any]]:
    return speed_startup.measure(1 if quick else 5)


PARTS: dict[str, Callable[[dict, bool], list[dict[str, Any]]]] = {
    "datasets": _datasets,
    "graphs": _graphs,
    "prediction": _prediction,
    "growth": _growth,
    "training": _training,
    "levels": _levels,
    "startup": _startup,
}
r"""What is measured, in this order: objects that other parts leave would slow down the loader."""


def _report(result: dict[str, Any]) -> str:
    floors = result["floors"]
    lines = ["# Speed", "", measuring.sentence(result["environment"]), ""]
    lines.append(
        f"Large product of matrices: {floors['matmul_gflops']:.0f} GFLOP/s. Memory written: "
        f"{floors['write_gb_per_s']:.0f} GB/s. [benchmarks/README.md](../README.md) explains the "
        "columns."
    )
    for name in ("targets", *PARTS, "exponents"):
        if name in result:
            lines += ["", f"## {name}", "", measuring.table(result[name])]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
