r"""What an evaluation found: figures, table, files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from pyg_ghn._files import atomic_path
from pyg_ghn.evaluation.splits import FAMILIES


@dataclass(frozen=True)
class NetworkResult:
    r"""What was found on one network. Accuracies and shares lie between 0 and 1."""

    split: str
    name: str
    families: tuple[str, ...]
    r"""What kinds of network it is, of :obj:`~pyg_ghn.evaluation.splits.FAMILIES`."""
    num_params: int
    r"""All of its parameters, those of unused layers included."""
    predicted_share: float
    r"""Share of them that were predicted."""
    accuracy: float
    r"""With predicted parameters. Images with logits that are not finite count as wrong."""
    accuracy_top5: float
    random: float
    r"""With the network's own random initialization."""
    random_top5: float
    non_finite: float
    r"""Share of images whose logits were not finite under predicted parameters."""
    seconds: float
    r"""Time to build, predict and evaluate twice."""


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
        groups = {"splits": self.by_split(), "families": self.by_family()}
        return {
            kind: {name: _summarize(networks) for name, networks in group.items()}
            for kind, group in groups.items()
        }

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

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            **asdict(self),
            "chance": self.chance,
            "summary": self.summary(),
            "non_finite": self.non_finite,
        }

    @classmethod
    def load(cls, folder: str | os.PathLike) -> GeneralizationResult:
        """Reads what :meth:`save` wrote."""
        stored = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        networks = [
            NetworkResult(**{**net, "families": tuple(net["families"])})
            for net in stored.pop("networks")
        ]
        for derived in ("chance", "summary", "non_finite"):
            del stored[derived]
        return cls(networks=networks, **stored)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes ``results.json`` and ``table.txt``, each whole or not at all.
        :func:`~pyg_ghn.drawing.draw_generalization` makes the picture."""
        folder = Path(folder)
        with atomic_path(folder / "results.json") as path:
            path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        with atomic_path(folder / "table.txt") as path:
            path.write_text(self.table(), encoding="utf-8")


def _summarize(networks: Sequence[NetworkResult]) -> dict[str, float]:
    accuracies = {
        "ghn": [net.accuracy for net in networks],
        "random": [net.random for net in networks],
    }
    figures = {"mean": fmean, "std": pstdev, "best": max}
    return {
        "networks": len(networks),
        **{
            f"{who}_{name}": figure(values)
            for who, values in accuracies.items()
            for name, figure in figures.items()
        },
    }


def _table(kind: str, groups: dict[str, dict[str, float]], chance: float) -> Iterable[str]:
    rows = [(kind, "networks", "GHN mean ± std", "best", "RandInit mean ± std", "best", "chance")]
    for name, found in groups.items():
        cells = [name, str(found["networks"])]
        for who in ("ghn", "random"):
            mean, std, best = (100 * found[f"{who}_{figure}"] for figure in ("mean", "std", "best"))
            cells += [f"{mean:.1f} ± {std:4.1f}", f"{best:.1f}"]
        rows.append((*cells, f"{100 * chance:.1f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others])
