r"""What is known of a checkpoint before its tensors are read."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor


class UnreadableError(ValueError):
    r"""A file is damaged, or holds what is not admitted. The message goes on after its name."""


class StoredTensor(NamedTuple):
    r"""A tensor that is still in its file."""

    dtype: torch.dtype | None  # None for one that PyTorch does not have
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * (self.dtype.itemsize if self.dtype else 1)


class StoredGHN(NamedTuple):
    r"""What a file tells of a graph hypernetwork."""

    state: dict[str, StoredTensor]
    config: dict[str, Any]
