r"""Batches on their way from a worker process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_ghn.datasets.columns import fill_batch


class Parcel:
    r"""Unpickles as the batch that it is made of. All tensors travel in one piece: a data loader
    opens a file for each tensor that it gets from a worker, which takes longer than to make a small
    batch.

    Args:
        batch (Batch): A batch of :class:`~torch_geometric.data.Data` with dense tensors.
    """

    def __init__(self, batch: Batch):
        self.batch = batch

    def __reduce__(self) -> tuple:
        batch = self.batch
        parts = batch.to_dict(), batch._slice_dict, batch._inc_dict
        tensors = {id(v): v for part in parts for v in part.values() if isinstance(v, Tensor)}
        # Larger numbers first, so that all are aligned.
        tensors = sorted(tensors.values(), key=Tensor.element_size, reverse=True)
        places = {id(tensor): _Place(i) for i, tensor in enumerate(tensors)}
        parts = [{name: places.get(id(v), v) for name, v in part.items()} for part in parts]
        buffer = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])
        kinds = [(tensor.dtype, tuple(tensor.shape), tensor.nbytes) for tensor in tensors]
        return _unpack, (buffer, kinds, parts, batch.num_graphs)


class _Place(int):
    """The number of a tensor."""


def _unpack(
    buffer: Tensor, kinds: list[tuple], parts: list[dict[str, Any]], num_graphs: int
) -> Batch:
    pieces = buffer.split([nbytes for *_, nbytes in kinds])
    tensors = [
        piece.view(dtype).view(shape)
        for piece, (dtype, shape, _) in zip(pieces, kinds, strict=True)
    ]
    parts = (
        {name: tensors[v] if isinstance(v, _Place) else v for name, v in part.items()}
        for part in parts
    )
    return fill_batch(*parts, num_graphs)
