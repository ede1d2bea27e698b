r"""Where tensors are written, and how they get to the device."""

import ctypes
import mmap
from collections.abc import Sequence

import torch
from torch import Size, Tensor

_HUGE_PAGE = 1 << 21
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux only
_madvise = None if _ADVICE is None else ctypes.CDLL(None).madvise


def empties(shapes: Sequence[Sequence[int] | Size], like: Tensor) -> list[Tensor]:
    r"""Uninitialized tensors of the given shapes, of the type and on the device of another tensor.

    Writing to fresh memory for the first time takes a CPU longer than predicting what to write:
    the system hands it out in pages of 4 kB and clears each. Here it is asked for pages of 2 MB,
    which take a quarter of the time (:obj:`benchmarks/README.md`); where it has none, or the memory
    is not fresh, nothing changes.
    """
    tensors = [like.new_empty(shape) for shape in shapes]
    if _madvise is not None and like.device.type == "cpu" and type(like) is Tensor:
        for start, end in _spans(tensors):
            if end - start >= 2 * _HUGE_PAGE:
                _madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _ADVICE)
    return tensors


def send(tensor: Tensor, device: torch.device) -> Tensor:
    r"""The tensor on the device. On the way from the CPU to a GPU nobody waits for the work that
    the GPU has still to do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _spans(tensors: list[Tensor]) -> list[tuple[int, int]]:
    """The addresses of the huge pages that tensors lie in, neighbours joined."""
    spans: list[tuple[int, int]] = []
    for start, size in sorted((tensor.data_ptr(), tensor.nbytes) for tensor in tensors):
        first = start // _HUGE_PAGE * _HUGE_PAGE
        end = -(-(start + size) // _HUGE_PAGE) * _HUGE_PAGE
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((first, end))
    return spans
