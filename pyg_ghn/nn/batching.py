r"""What layers must know of a batch: its attributes, the sizes of its graphs, its device."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from pyg_ghn.errors import GraphError


def require(data: Data, *names: str) -> None:
    r"""Checks that a graph has the attributes.

    Raises:
        GraphError: If some are missing.
    """
    missing = [name for name in names if name not in data]
    if missing:
        raise GraphError(
            f"The graph lacks {', '.join(missing)}. Build it by `pyg_ghn.graph.from_module` and "
            "apply the GHN's `transform`."
        )


def graph_sizes(batch: Tensor | Sequence[int]) -> list[int]:
    r"""The number of nodes of each graph. A graph without nodes has zero; such graphs at the end of
    a batch are not counted.

    Args:
        batch (Tensor or list of int): The graph that each node belongs to,
            :math:`(\sum_g N_g)`, or the sizes themselves, for which a GPU does not have to be
            asked.

    Raises:
        GraphError: If the nodes of a graph are not next to each other, in the order of the graphs.
    """
    if not isinstance(batch, Tensor):
        return [int(size) for size in batch]
    if batch.dim() != 1 or (batch[1:] < batch[:-1]).any():
        raise GraphError(
            "The batch vector must be one-dimensional and ascending, as PyG's DataLoader and "
            "`Batch.from_data_list` make it: sort nodes by `batch.argsort(stable=True)`."
        )
    return batch.bincount().tolist()


def matrix_sizes(
    values: Tensor, batch: Tensor | Sequence[int] | None, what: str = "path lengths"
) -> list[int]:
    r"""The number of nodes of each graph, given the flat matrices :math:`(\sum_g N_g^2, *)` of all
    graphs.

    Raises:
        GraphError: If the matrices do not fit the batch, or the batch vector is not sorted.
    """
    sizes = [round(len(values) ** 0.5)] if batch is None else graph_sizes(batch)
    if sum(n * n for n in sizes) != len(values):
        raise GraphError(
            f"{len(values)} {what} do not fit graphs of {sizes} nodes: each graph must come with "
            "all of its pairs. Where nodes were removed or added, compute them again."
        )
    return sizes


def pairs_of(data: Data, name: str, what: str) -> tuple[Tensor, list[int]]:
    r"""The attribute of a graph or batch that has a value for each pair of nodes, and the sizes of
    the graphs, which the host knows wherever the batch is.

    Raises:
        GraphError: If the graph is heterogeneous or lacks the attribute.
    """
    if isinstance(data, HeteroData):
        raise GraphError(
            "Attention goes over nodes of one type: call `data.to_homogeneous()` first, and give "
            "the types to the network as features."
        )
    if name not in data:
        raise GraphError(f"The graph lacks `{name}`: {what}.")
    values, slices = data[name], getattr(data, "_slice_dict", {}).get(name)
    sizes = [data.num_nodes] if slices is None else [isqrt(n) for n in slices.diff().tolist()]
    if sum(sizes) != data.num_nodes or sum(n * n for n in sizes) != len(values):
        raise GraphError(
            f"`{name}` is from before nodes were removed or added: it holds {len(values)} values "
            f"for pairs of nodes of graphs that have {data.num_nodes} nodes now. Compute it again."
        )
    return values, sizes


def send(tensor: Tensor, device: torch.device) -> Tensor:
    r"""The tensor on the device. On the way from the CPU to a GPU, nobody waits for the work that
    the GPU still has to do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)  # the other way the host must wait for the values
