r"""What an evaluation found: figures, table, files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from pyg_ghn._files import atomic_path

ATTRIBUTES = {"ghn": "accuracy", "calibrated": "calibrated", "random": "random"}
FIGURES = {"mean": fmean, "std": pstdev, "best": max}

FAMILIES: dict[str, Callable[[Set[str]], bool]] = {
    "batch norm": lambda nodes: "bn" in nodes,
    "no norm": lambda nodes: nodes.isdisjoint({"bn", "ln"}),
    "attention": lambda nodes: "msa" in nodes,
    "squeeze-excitation": lambda nodes: "cse" in nodes,
}
r"""Kind of network to its test on the node types of a graph. A network can be of several kinds."""


@dataclass(frozen=True)
class NetworkResult:
    r"""What was found on one network. Accuracies and shares lie between 0 and 1."""

    split: str
    name: str
    families: tuple[str, ...]
    r"""What kinds of network it is, of :obj:`FAMILIES`."""
    num_params: int
    r"""All of its parameters, those of unused layers included."""
    predicted_share: float
    r"""Share of them that were predicted."""
    accuracy: float
    r"""With predicted parameters. Images with logits that are not finite count as wrong."""
    accuracy_top5: float
    calibrated: float
    r"""With predicted parameters calibrated by unlabelled images."""
    random: float
    r"""With the network's own random initialization."""
    random_top5: float
    non_finite: float
    r"""Share of images whose logits were not finite under predicted parameters."""
    seconds: float
    r"""Time to build, predict and evaluate."""


@dataclass(frozen=True)
class GeneralizationResult:
    r"""The results of :func:`~pyg_ghn.evaluation.evaluate_ghn`, and what they depend on."""

    networks: list[NetworkResult]
    ghn: str
    config: dict[str, Any]
    images: str
    image_split: str
    num_images: int
    num_classes: int
    settings: dict[str, Any]
    versions: dict[str, str]
    date: str

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.num_classes

    @property
    def non_finite(self) -> list[str]:
        """The networks with logits that are not finite under predicted parameters."""
        return [f"{net.split}/{net.name}" for net in self.networks if net.non_finite > 0]

    def by_split(self) -> dict[str, list[NetworkResult]]:
        """The networks of each split, in the order of evaluation."""
        splits = dict.fromkeys(net.split for net in self.networks)
        return {split: [net for net in self.networks if net.split == split] for split in splits}

    def by_family(self) -> dict[str, list[NetworkResult]]:
        """The networks of each family, over all splits. A network can be in several."""
        members = {
            name: [net for net in self.networks if name in net.families] for name in FAMILIES
        }
        return {name: networks for name, networks in members.items() if networks}

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Mean, standard deviation over the networks, and best accuracy per split and family."""
        summary: dict[str, dict[str, dict[str, float]]] = {}
        for kind, group in (("splits", self.by_split()), ("families", self.by_family())):
            summary[kind] = {name: {"networks": len(nets)} for name, nets in group.items()}
            for name, nets in group.items():
                for who, attribute in ATTRIBUTES.items():
                    values = [getattr(net, attribute) for net in nets]
                    for what, figure in FIGURES.items():
                        summary[kind][name][f"{who}_{what}"] = figure(values)
        return summary

    def table(self) -> str:
        """A text table with one line per split, and one per family."""
        summary = self.summary()
        lines = [
            f"{self.ghn} on {self.images}: top-1 accuracy in % on {self.num_images} "
            f"{self.image_split} images, networks not trained",
            "",
            *_table("split", summary["splits"], self.chance),
            "",
            *_table("family", summary["families"], self.chance),
        ]
        if self.non_finite:
            lines += ["", f"Not finite: {', '.join(self.non_finite)}"]
        return "\n".join(lines) + "\n"

    @classmethod
    def load(cls, folder: str | os.PathLike) -> GeneralizationResult:
        """Reads what :meth:`save` wrote."""
        stored = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        stored["networks"] = [
            NetworkResult(**{**net, "families": tuple(net["families"])})
            for net in stored["networks"]
        ]
        return cls(**{field.name: stored[field.name] for field in fields(cls)})

    def save(self, folder: str | os.PathLike) -> None:
        """Writes ``results.json`` and ``table.txt``, each whole or not at all.
        :func:`~pyg_ghn.drawing.draw_generalization` makes the picture."""
        derived = {"chance": self.chance, "summary": self.summary(), "non_finite": self.non_finite}
        stored = {**asdict(self), **derived}
        files = {"results.json": json.dumps(stored, indent=1) + "\n", "table.txt": self.table()}
        for name, text in files.items():
            with atomic_path(Path(folder) / name) as path:
                path.write_text(text, encoding="utf-8")


TITLES = ("GHN mean ± std", "best", "calibrated", "best", "RandInit", "best")


def _table(kind: str, groups: dict[str, dict[str, float]], chance: float) -> list[str]:
    rows = [(kind, "networks", *TITLES, "chance")]
    for name, found in groups.items():
        cells = [name, str(found["networks"])]
        for who in ATTRIBUTES:
            mean, std, best = (100 * found[f"{who}_{figure}"] for figure in FIGURES)
            cells += [f"{mean:.1f} ± {std:4.1f}", f"{best:.1f}"]
        rows.append((*cells, f"{100 * chance:.1f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
