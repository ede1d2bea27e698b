r"""What a GHN predicted for a model, and what it did not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from math import ceil, prod
from typing import Any

from pyg_ghn.nn.targets import Target


class Status(str, Enum):
    r"""Where the values of a parameter come from. If several apply, the last one counts."""

    PREDICTED = "predicted"
    r"""Each value was decoded for its place."""
    TILED = "tiled"
    r"""Decoded values are repeated along the outputs or inputs."""
    INTERPOLATED = "interpolated"
    r"""Decoded values are interpolated to a kernel larger than the GHN's largest one."""
    PARTLY_RANDOM = "partly random"
    r"""Rows of a position embedding that belong to no position are drawn at random."""
    LEFT = "left"
    r"""The GHN predicts nothing: the parameter keeps its values."""


@dataclass(frozen=True)
class ParameterReport:
    r"""What became of one parameter of a model.

    Attributes:
        name: Its name in :meth:`~torch.nn.Module.named_parameters`.
        shape: Its shape.
        reason: Why it was left, empty if it was not.
        tiles: How often the decoded values are repeated along the outputs and the inputs. The last
            repetition may be cut.
        interpolated: The sizes of the decoded and of the interpolated kernel.
        random_values: How many values are drawn at random.
        note: What else there is to know.
        tied: The parameter's other names.
    """

    name: str
    shape: tuple[int, ...]
    reason: str = ""
    tiles: tuple[int, int] = (1, 1)
    interpolated: tuple[tuple[int, int], tuple[int, int]] | None = None
    random_values: int = 0
    note: str = ""
    tied: tuple[str, ...] = ()

    @classmethod
    def of(cls, target: Target, max_shape: tuple[int, ...]) -> ParameterReport:
        r"""Tells which values of a predicted parameter are decoded, repeated, interpolated or
        random.

        Args:
            target (Target): The parameter and its role.
            max_shape (tuple): Size :math:`(c_{out}, c_{in}, s, s)` of what the decoder makes.
        """
        sizes, decoded = target.sizes, target.decoded(max_shape)
        window, kernel = decoded[2:], sizes[2:]
        return cls(
            target.name,
            target.shape,
            tiles=(ceil(sizes[0] / decoded[0]), ceil(sizes[1] / decoded[1])),
            interpolated=None if window == kernel else (window, kernel),
            random_values=prod(target.shape) - prod(sizes),
        )

    @property
    def numel(self) -> int:
        r"""The number of values."""
        return prod(self.shape)

    @property
    def num_predicted(self) -> int:
        r"""The number of values that the GHN predicts."""
        return 0 if self.reason else self.numel - self.random_values

    @property
    def status(self) -> Status:
        r"""Where the values come from."""
        applies = {
            Status.LEFT: self.reason,
            Status.PARTLY_RANDOM: self.random_values,
            Status.INTERPOLATED: self.interpolated,
            Status.TILED: self.tiles != (1, 1),
        }
        return next((status for status, applied in applies.items() if applied), Status.PREDICTED)

    @property
    def detail(self) -> str:
        r"""The status in numbers and words."""
        parts = [self.reason] if self.reason else []
        if self.tiles != (1, 1):
            parts.append("repeated {} x {} times (out x in)".format(*self.tiles))
        if self.interpolated:
            parts.append("interpolated from {} x {} to {} x {}".format(*sum(self.interpolated, ())))
        if self.random_values:
            parts.append(f"{self.random_values:,} values drawn at random")
        if self.note:
            parts.append(self.note)
        if self.tied:
            parts.append(f"tied with {', '.join(self.tied)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        r"""The whole report, as JSON can hold it."""
        rest = asdict(self)
        name, shape = rest.pop("name"), rest.pop("shape")
        return {"name": name, "shape": shape, "status": self.status.value, **rest}


class PredictionReport(Sequence):
    r"""What a GHN predicted for a model, and what it did not: a sequence of a
    :class:`ParameterReport` for every parameter, in the order of the model. Tied parameters are
    one. ``str(report)`` is a summary, ``report["fc.weight"]`` is one parameter's.

    Args:
        parameters (iterable): The reports of all parameters.
        notes (iterable, optional): What concerns the whole model. (default: :obj:`()`)
    """

    def __init__(self, parameters: Iterable[ParameterReport], notes: Iterable[str] = ()) -> None:
        self.parameters = tuple(parameters)
        self.notes = tuple(notes)
        self._by_name = {name: p for p in self.parameters for name in (p.name, *p.tied)}

    def __getitem__(self, key: Any) -> Any:
        return self._by_name[key] if isinstance(key, str) else self.parameters[key]

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def left(self) -> list[ParameterReport]:
        r"""The parameters that keep their values."""
        return [p for p in self if p.status is Status.LEFT]

    @property
    def num_values(self) -> int:
        r"""The number of values of all parameters."""
        return sum(p.numel for p in self)

    @property
    def num_predicted(self) -> int:
        r"""The number of values that the GHN predicts."""
        return sum(p.num_predicted for p in self)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        r"""For each status the numbers of parameters and of their values."""
        sizes = {status: [p.numel for p in self if p.status is status] for status in Status}
        return {status.value: (len(some), sum(some)) for status, some in sizes.items()}

    def summary(self, most: int = 10) -> str:
        r"""A table that stays readable whatever the number of parameters: the counts of each
        status, then what is special about parameters. Those whose names are equal but for the
        numbers in them share a line.

        Args:
            most (int, optional): Number of lines on single parameters. (default: :obj:`10`)
        """
        lines = [
            f"predicted: {len(self) - len(self.left):,} of {len(self):,} parameters, "
            f"{self.num_predicted:,} of {self.num_values:,} values"
        ]
        for status, (parameters, values) in self.counts.items():
            if parameters:
                noun = "parameter" if parameters == 1 else "parameters"
                line = f"  {status:<13} {parameters:>6,} {noun:<10} {values:>15,} values"
                extent = _extent([p for p in self if p.status.value == status])
                lines.append(f"{line}  {extent}".rstrip())
        for title, described in (
            ("left as they are", {p: p.reason for p in self.left}),
            ("notes", {p: p.note for p in self if p.note}),
            ("tied", {p: f"tied with {', '.join(p.tied)}" for p in self if p.tied}),
        ):
            found = _grouped(described, most)
            lines += [f"{title}:"] * bool(found) + [f"  {line}" for line in found]
        return "\n".join([*lines, *self.notes])

    def what_is_left(self, most: int = 10) -> list[str]:
        r"""A line for each parameter that keeps its values, with the reason. Those whose names are
        equal but for the numbers in them share a line.

        Args:
            most (int, optional): Number of lines on parameters. (default: :obj:`10`)
        """
        return _grouped({p: p.detail for p in self.left}, most)

    def to_dict(self) -> dict[str, Any]:
        r"""The whole report, as JSON can hold it."""
        return {
            "values": self.num_values,
            "predicted_values": self.num_predicted,
            "counts": {
                status: {"parameters": parameters, "values": values}
                for status, (parameters, values) in self.counts.items()
            },
            "notes": list(self.notes),
            "parameters": [p.to_dict() for p in self],
        }

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        counts = ", ".join(f"{status}={n}" for status, (n, _) in self.counts.items() if n)
        return f"{self.__class__.__name__}({counts})"


def _extent(some: list[ParameterReport]) -> str:
    """How far parameters of the same status are from being decoded value by value."""
    if some[0].status is Status.TILED:
        out, in_ = (max(times) for times in zip(*(p.tiles for p in some), strict=True))
        return f"repeated up to {out} x {in_} times (out x in)"
    if some[0].status is Status.INTERPOLATED:
        decoded, kernel = max((p.interpolated for p in some), key=lambda sizes: sizes[1])
        return "up to {} x {} from {} x {}".format(*kernel, *decoded)
    if some[0].status is Status.PARTLY_RANDOM:
        return f"{sum(p.random_values for p in some):,} of them random"
    return ""


_NUMBER = re.compile(r"\d+")


def _grouped(described: dict[ParameterReport, str], most: int) -> list[str]:
    """A line for all parameters whose names and descriptions are equal but for numbers."""
    groups: dict[str, list[ParameterReport]] = {}
    for parameter, text in described.items():
        groups.setdefault(_NUMBER.sub("*", f"{parameter.name}: {text}"), []).append(parameter)
    lines = []
    for some in groups.values():
        values = sum(p.numel for p in some)
        size = f"{values:,} value" + "s" * (values != 1)
        if len(some) > 1:
            size = f"{len(some):,} parameters, {size}"
        name, text = _common([p.name for p in some]), _common([described[p] for p in some])
        lines.append(f"{name} ({size}): {text}")
    return lines[:most] + [f"and {len(lines) - most:,} more"] * (len(lines) > most)


def _common(texts: list[str]) -> str:
    """Texts that are equal but for numbers, as one: a star for each number that differs."""
    numbers = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    common = (some[0] if len({*some}) == 1 else "*" for some in numbers)
    return _NUMBER.sub(lambda match: next(common), texts[0])


def shortened(names: Sequence[str], most: int = 5) -> str:
    r"""The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
