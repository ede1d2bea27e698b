r"""Tables as text, Markdown and LaTeX, and where they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import _measure as measuring
from matplotlib.figure import Figure

from pyg_ghn._files import atomic_path
from pyg_ghn.drawing.style import plain, save_figure

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())
r"""What the paper reports: its :obj:`tables` by name, and the ImageNet accuracies in % of its
:obj:`networks` in the order of :obj:`network_columns`."""


@dataclass
class Table:
    r"""A table.

    Args:
        title: What it shows.
        columns: Heads of the columns; of neighbours that begin alike up to :obj:`" | "` LaTeX puts
            that above both.
        rows: The cells: text, whole numbers, or others, which are shown to one decimal.
        notes: Sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = [["-" if c is None else _shown(c) for c in row] for row in self.rows]

    def markdown(self) -> str:
        r"""The table for readers of text and of Markdown alike."""
        heads = [column.replace(" | ", ", ") for column in self.columns]
        rows = [dict(zip(heads, row, strict=True)) for row in self.rows]
        body = measuring.table(rows, heads) if rows else "No results yet."
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"## {self.title}\n\n{body}\n{notes}"

    def latex(self) -> str:
        r"""The table for the package booktabs."""
        groups, heads = zip(
            *(column.rpartition(" | ")[::2] for column in self.columns), strict=True
        )
        lines = [_cells(heads), r"\midrule", *map(_cells, self.rows)]
        if any(groups):
            spans = [(name, len([*same])) for name, same in groupby(groups)]
            above = [rf"\multicolumn{{{n}}}{{c}}{{{_escape(name)}}}" for name, n in spans]
            lines.insert(0, rf"{' & '.join(above)} \\")
        body = "\n".join([r"\toprule", *lines, r"\bottomrule"])
        notes = " ".join(map(_escape, [f"{self.title}.", *self.notes]))
        return (
            f"\\begin{{table}}\n\\caption{{{notes}}}\n\\begin{{tabular}}"
            f"{{l{'c' * (len(heads) - 1)}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
        )


def _shown(cell: Any) -> str:
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def _cells(cells: Iterable[str]) -> str:
    return rf"{' & '.join(map(_escape, cells))} \\"


_SPECIAL = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "γ": r"$\gamma$", "λ": r"$\lambda$", "✓": r"\checkmark", "×": r"$\times$",  # noqa: RUF001
}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def mean_std(values: Iterable[float]) -> str | None:
    r"""Mean and standard deviation as the paper shows them; a single value alone; :obj:`None` if
    there is none."""
    values = list(values)
    spread = f"±{pstdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{spread}" if values else None


def new_figure(width: float = 8.4, height: float = 3.8, **subplots: Any) -> tuple[Figure, Any]:
    r"""A figure of its own, without pyplot, and its axes, in the look of the package."""
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    axes = figure.subplots(**subplots)
    for ax in figure.axes:
        plain(ax)
    return figure, axes


def write(name: str, parts: Sequence[Table | Figure], notes: Sequence[str], folder: Path) -> str:
    r"""Writes ``NAME.md``, ``NAME.tex`` and, if there is a figure, ``NAME.png``.

    Args:
        name: Name of the table.
        parts: Tables and at most one figure. What the paper reports comes below.
        notes: Paragraphs below all of them.
        folder: Where to write.

    Returns:
        What ``NAME.md`` says.
    """
    tables = [part for part in parts if isinstance(part, Table)]
    if name in PUBLISHED["tables"]:
        tables.append(Table(**PUBLISHED["tables"][name]))
    kind = name.rstrip("0123456789")
    if figures := [part for part in parts if isinstance(part, Figure)]:
        save_figure(figures[0], folder / f"{name}.png")
    picture = [f"![{kind.title()}]({name}.png)\n"] if figures else []
    body = [*picture, *(table.markdown() for table in tables), *(f"{note}\n" for note in notes)]
    text = "\n".join([f"# {f'{kind.title()} {name.removeprefix(kind)}'.strip()}\n", *body])
    files = {"md": text, "tex": "\n".join(table.latex() for table in tables)}
    for suffix, content in files.items():
        with atomic_path(folder / f"{name}.{suffix}") as path:
            path.write_text(content, encoding="utf-8")
    return text
