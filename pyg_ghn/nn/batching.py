r"""What layers must know of a batch: its attributes, the sizes of its graphs, its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

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


def graph_sizes(batch: Tensor) -> list[int]:
    r"""The number of nodes of each graph. A graph without nodes has zero; such graphs at the end of
    a batch are not counted.

    Args:
        batch (Tensor): The graph that each node belongs to, :math:`(\sum_g N_g)`.

    Raises:
        GraphError: If the nodes of a graph are not next to each other, in the order of the graphs.
    """
    if batch.dim() != 1 or (batch[1:] < batch[:-1]).any():
        raise GraphError(
            "The batch vector must be one-dimensional and ascending, as PyG's DataLoader and "
            "`Batch.from_data_list` make it: sort nodes by `batch.argsort(stable=True)`."
        )
    return batch.bincount().tolist()


def matrix_sizes(spd: Tensor, batch: Tensor | None) -> list[int]:
    r"""The number of nodes of each graph, given the flat matrices of path lengths of all graphs.

    Raises:
        GraphError: If the lengths do not fit the batch, or the batch vector is not sorted.
    """
    sizes = [round(spd.numel() ** 0.5)] if batch is None else graph_sizes(batch)
    if sum(n * n for n in sizes) != spd.numel():
        raise GraphError(
            f"{spd.numel()} path lengths do not fit graphs of {sizes} nodes; each graph must come "
            "with all of its pairs from `AddShortestPathEncoding`."
        )
    return sizes


def send(tensor: Tensor, device: torch.device) -> Tensor:
    r"""The tensor on the device. On the way from the CPU to a GPU, nobody waits for the work that
    the GPU still has to do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)  # the other way the host must wait for the values
