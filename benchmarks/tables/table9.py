r"""Table 9: how different the tensors of one shape are over torchvision's networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache, partial

from pyg_ghn.datasets import TorchvisionModels
from pyg_ghn.evaluation import diversity
from tables.options import Options, torchvision_names
from tables.output import Table
from tables.rows import Job, Results, Row, Rows
from tables.trained import network, settings, starts, trained

Shape = tuple[int, ...]
SHAPES: tuple[Shape, ...] = ((64, 3, 7, 7), (256, 256, 3, 3), (1024, 1024, 1, 1))
r"""The paper's."""


def chosen(options: Options) -> dict[str, list[Shape]]:
    r"""The networks that have tensors of the shapes, each with these of its shapes: the paper's of
    which there are two tensors or more, up to three with those that most other networks have."""
    data, names = options.data, tuple(torchvision_names()[: options.count(quick=4)])
    shapes = _shapes(names, data.num_classes, data.input_size)
    counts = Counter(shape for found in shapes.values() for shape in found)
    spread = Counter(shape for found in shapes.values() for shape in {*found})

    def order(shape: Shape) -> tuple[bool, int, int]:
        return shape in SHAPES, spread[shape], counts[shape]

    wanted = sorted((shape for shape, n in counts.items() if n > 1), key=order)[:-4:-1]
    found = {name: [shape for shape in wanted if shape in shapes[name]] for name in names}
    return {name: shapes for name, shapes in found.items() if shapes}


@cache
def _shapes(names: tuple[str, ...], classes: int, size: Shape) -> dict[str, list[Shape]]:
    models = TorchvisionModels(names, None, classes, size)
    shapes = {
        name: [tuple(param.shape) for param in models.network(i).parameters()]
        for i, name in enumerate(names)
    }
    return {  # without classification layers
        name: [shape for shape in found if len(shape) > 1 and shape[0] != classes]
        for name, found in shapes.items()
    }


def jobs(options: Options, _: Results) -> Iterator[Job]:
    for start in starts(options):
        yield {"start": start, "networks": options.count(quick=4)}, partial(measure, options, start)


def measure(options: Options, start: str) -> Row:
    r"""The distances of all pairs. A network that fails is left out."""
    tensors, left_out = [], {}
    for name, shapes in chosen(options).items():
        try:
            model = network(options, name, start)
        except Exception as error:  # of any kind, as in rows
            left_out[name] = " ".join(f"{type(error).__name__}: {error}".split())
            continue
        tensors.append({k: v for k, v in model.named_parameters() if tuple(v.shape) in shapes})
    row: Row = {"left_out": left_out}
    for kind in ("distances",) if start in options.paths else ("distances", "matched"):
        found = diversity(tensors, match=kind == "matched")
        row[kind] = {"x".join(map(str, shape)): [*value] for shape, value in found.items()}
    return row


TRAINED = trained(lambda options: [*chosen(options)])
ROWS = (TRAINED, Rows("diversity", ("start", "networks"), settings, jobs, (TRAINED,)))


def report(_: Results, found: Results) -> list[Table]:
    count = max((row["networks"] for row in found.rows), default=0)
    present = [row for row in found.rows if row["networks"] == count]
    counts = {shape: n for row in present[::-1] for shape, (_, n) in row["distances"].items()}
    shapes = sorted(counts, key=lambda shape: [shape.count("x") < 3, len(shape), shape])
    rows: list[list] = [["tensors", *(counts[shape] for shape in shapes)]]
    for row in present:
        for kind, what in (("distances", ""), ("matched", ", matched")):
            if values := row.get(kind):
                cells = (values.get(shape, [None])[0] for shape in shapes)
                rows.append([row["start"] + what, *map(_shown, cells)])
    title = f"Mean absolute cosine distance of tensors in {count} networks of torchvision"
    notes = [
        "Matched: output channels of a pair's second tensor in the order closest to the first. "
        f"Trained: {found.settings['trained']}.",
        *(
            f"{row['start']} is without {name}: {reason}"
            for row in present
            for name, reason in row["left_out"].items()
        ),
    ]
    return [Table(title, ["method", *shapes], rows, notes)]


def _shown(distance: float | None) -> str | None:
    return distance and (f"{distance:.3f}" if distance >= 0.001 else f"{distance:.0e}")
