r"""The rows of ``coverage.py`` as text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

HEAD = """# Coverage

Which models become graphs, and how much of them a GHN can predict. Written by
`python benchmarks/coverage.py{options}`; how a model becomes a graph and what the reasons mean is
explained in [graphs.md](graphs.md).

- *predicted*: parameters with a node (or the bias of a normalization that has one) of all
  parameters, and the share of the values in them;
- *left*: what keeps its own initialization, by the last part of its name, and why;
- *ms*: CPU time of `from_module` on one thread; *real* marks models that ask for values, so that a
  real forward pass had to be recorded instead of one on the meta device.

In none of the graphs is a weight or bias of a supported operation missing where the result reaches
the output, unless a row says so (`benchmarks/completeness.py` checks each).

Versions: {versions}.
"""


def line(row: Row) -> str:
    r"""What a run shows of one model."""
    name = f"{row['library']:16}{row['family']:24}{row['model']:40}"
    if "error" in row:
        return f"{name} {row['stage']} failed: {_first_line(row['error'])}"
    missing = f"  MISSING {', '.join(row['missing'])}" if row["missing"] else ""
    return (
        f"{name}{row['nodes']:6} nodes {100 * _share(row):6.2f} % {row['milliseconds']:8.1f} ms"
        f"{missing}"
    )


def summary(rows: Sequence[Row]) -> str:
    r"""How many models became complete graphs."""
    done = [row for row in rows if "error" not in row]
    complete = sum(not row["missing"] for row in done)
    families = len({(row["library"], row["family"]) for row in done})
    return (
        f"{len(done)} of {len(rows)} models ({families} families) became graphs, {complete} of "
        "them complete."
    )


def document(result: dict[str, Any], rows: Sequence[Row]) -> str:
    r"""The tables of all libraries as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    parts = [HEAD.format(options=" --all" if result["all"] else "", versions=versions)]
    by_library = defaultdict(list)
    for row in rows:
        by_library[row["library"]].append(row)
    for library, of_library in by_library.items():
        parts += [f"## {library}", "", summary(of_library), ""]
        done = [row for row in of_library if "error" not in row]
        failed = [row for row in of_library if "error" in row]
        parts += [*_table(done), ""] if done else []
        parts += [*_failures(failed), ""] if failed else []
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> list[str]:
    families = defaultdict(list)
    for row in rows:
        families[row["family"]].append(row)
    lines = ["| family | models | nodes | predicted | left | ms |", "|---|---|---|---|---|---|"]
    for family, of_family in families.items():
        cells = (
            family,
            _models(of_family),
            _range([row["nodes"] for row in of_family]),
            _predicted(of_family),
            _left(of_family),
            _times(of_family),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _models(rows: Sequence[Row]) -> str:
    return rows[0]["model"] if len(rows) == 1 else f"{len(rows)}: {rows[0]['model']} ..."


def _predicted(rows: Sequence[Row]) -> str:
    """Of the variant of which the least is predicted."""
    row = min(rows, key=_share)
    predicted = row["parameters"] - sum(kind["parameters"] for kind in row["left"])
    return f"{predicted}/{row['parameters']}, {100 * _share(row):.2f} %"


def _share(row: Row) -> float:
    left = sum(kind["values"] for kind in row["left"])
    return 1 - left / row["values"] if row["values"] else 1.0


def _left(rows: Sequence[Row]) -> str:
    """Kinds of parameters by reason; how many of them the variant that has most of them has."""
    most: Counter = Counter()
    for row in rows:
        most |= Counter({(k["name"], k["reason"]): k["parameters"] for k in row["left"]})
    of_reason = defaultdict(list)
    for (name, reason), count in most.items():
        of_reason[reason].append(f"{count} `{name}`")
    said = [f"{', '.join(names)}: {reason}" for reason, names in of_reason.items()]
    missing = sorted({name for row in rows for name in row["missing"]})
    return "; ".join(said + ([f"**missing: {', '.join(missing)}**"] if missing else []))


def _times(rows: Sequence[Row]) -> str:
    real = " real" if any(row["pass"] == "real" for row in rows) else ""
    return _range([round(row["milliseconds"]) for row in rows]) + real


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = ["Not among them:", ""]
    for row in rows:
        error = _first_line(row["error"]).replace("|", "\\|")
        lines.append(f"- {row['model']} ({row['stage']}): {error}")
    return lines


def _first_line(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}..."
