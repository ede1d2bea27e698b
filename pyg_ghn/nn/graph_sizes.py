r"""How many nodes each graph of a batch has."""

from torch import Tensor

from pyg_ghn.errors import GraphError


def graph_sizes(batch: Tensor) -> list[int]:
    r"""The number of nodes of each graph; a graph without nodes has zero, those at the end of a
    batch are not counted.

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
    r"""The number of nodes of each graph of which :obj:`spd` holds the flat matrices of path
    lengths.

    Raises:
        GraphError: If the lengths do not fit the batch, or it is unsorted.
    """
    sizes = [round(spd.numel() ** 0.5)] if batch is None else graph_sizes(batch)
    if sum(n * n for n in sizes) != spd.numel():
        raise GraphError(
            f"{spd.numel()} path lengths do not fit graphs of {sizes} nodes; each graph must come "
            "with all of its pairs from `AddShortestPathEncoding`."
        )
    return sizes
