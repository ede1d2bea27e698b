r"""Transforms of many graphs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from pyg_ghn.transforms.graphs import MAX_NODES, Graphs


def transform_many(
    transform: Callable[[Data], Data] | None, data_list: list[Data], graphs: Graphs
) -> list[Data]:
    r"""Transforms many acyclic graphs, with the result that they would have one by one.

    Transforms that have a method :obj:`encode_many`, from :class:`Graphs` to their attributes by
    name, take them all at once: the encodings of this package. From the first one on that has none,
    each graph is transformed for itself.

    Args:
        transform (callable, optional): A transform, or several in a
            :class:`~torch_geometric.transforms.Compose`.
        data_list (list of Data): The graphs. They are changed.
        graphs (Graphs): The same graphs.
    """
    steps = list(_steps(transform))
    if graphs.num_nodes.max() <= MAX_NODES:
        while steps and (encode_many := getattr(steps[0], "encode_many", None)):
            for name, values in encode_many(graphs).items():
                for data, value in zip(data_list, values, strict=True):
                    data[name] = value
            del steps[0]
    rest = Compose(steps)
    return [rest(data) for data in data_list] if steps else data_list


def _steps(transform: Any) -> Iterator[Callable]:
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from _steps(step)
    elif transform is not None:
        yield transform
