r"""What layers must know of a batch: its attributes, the sizes of its graphs, its device."""

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.data import BaseData

from pyg_ghn.errors import GraphError


def require(data: Data, *names: str) -> None:
    """Checks that a graph has the attributes."""
    if not isinstance(data, BaseData):
        raise GraphError(
            f"A GHN reads a graph or batch, got {type(data).__name__}: `ghn.predict(model)` takes "
            "a model, `Batch.from_data_list` joins graphs."
        )
    missing = [name for name in names if name not in data]
    if missing:
        raise GraphError(
            f"The graph lacks {', '.join(missing)}. Build it by `pyg_ghn.graph.from_module` and "
            "apply the GHN's `transform`."
        )


def graph_sizes(batch: Tensor | Sequence[int]) -> list[int]:
    r"""The number of nodes of each graph, given the graph that each node belongs to, or the sizes
    themselves, for which a GPU does not have to be asked. A graph without nodes has zero; such
    graphs at the end of a batch are not counted."""
    if not isinstance(batch, Tensor):
        return [int(size) for size in batch]
    if batch.dim() != 1 or batch.is_floating_point():
        raise GraphError(
            "Expected a batch vector, `data.batch`, the number of the graph that each node belongs "
            f"to, got {str(batch.dtype).removeprefix('torch.')} of shape {tuple(batch.shape)}. "
            "Edges (`edge_index`) enter attention through its bias alone: see `ShortestPathBias`."
        )
    if (batch[1:] < batch[:-1]).any():
        raise GraphError(
            "The batch vector must be ascending, as PyG's DataLoader and `Batch.from_data_list` "
            "make it: sort nodes by `batch.argsort(stable=True)`."
        )
    return batch.bincount().tolist()


def pairs_of(
    values: Tensor | Data,
    batch: Tensor | Sequence[int] | None = None,
    name: str = "spd",
    wanted: str = "apply `AddShortestPathEncoding` to it",
) -> tuple[Tensor, list[int]]:
    r"""The flat matrices :math:`(\sum_g N_g^2, *)` of values for all pairs of nodes, and the number
    of nodes of each graph. Either the matrices are given, with the batch as for :func:`graph_sizes`
    unless they are those of one graph, or a graph or batch that has them as an attribute. Of one
    that PyG collated the host knows the sizes wherever it is."""
    num_nodes = None
    if not isinstance(values, Tensor):
        data = values
        if isinstance(data, HeteroData):
            raise GraphError(
                "Attention goes over nodes of one type: call `data.to_homogeneous()` first, and "
                "give the types to the network as features."
            )
        if name not in data:
            raise GraphError(f"The graph lacks `{name}`: {wanted}.")
        values, num_nodes = data[name], data.num_nodes
        slices = getattr(data, "_slice_dict", {}).get(name)
        if slices is not None:
            batch = [isqrt(n) for n in slices.diff().tolist()]
        else:
            batch = data.get("batch", [num_nodes])
    sizes = [isqrt(len(values))] if batch is None else graph_sizes(batch)
    in_all = "" if num_nodes in (None, sum(sizes)) else f", {num_nodes} in all"
    if sum(n * n for n in sizes) != len(values) or in_all:
        raise GraphError(
            f"{len(values)} values of `{name}` do not fit graphs of {sizes} nodes{in_all}: each "
            "graph must come with all of its pairs. Where nodes were removed or added, compute "
            "them again."
        )
    return values, sizes


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. From the CPU to a GPU nobody waits for what the GPU still has to
    do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)  # the other way the host must wait for the values
