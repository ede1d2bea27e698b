r"""Finding tensors that are not finite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    r"""The names of the floating-point tensors that hold an infinity or NaN.

    Args:
        tensors (iterable): Pairs of name and tensor, on any devices.
    """
    extremes: dict[torch.device, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            wide = tensor if tensor.element_size() > 1 else tensor.float()
            # Much faster than `isfinite` of all elements; NaN is the extreme of what holds it.
            extremes[tensor.device][name] = torch.stack(torch.aminmax(wide)).isfinite().all()
    found = []
    for of_device in extremes.values():  # one transfer from each
        finite = torch.stack([*of_device.values()]).tolist()
        found += [name for name, ok in zip(of_device, finite, strict=True) if not ok]
    return found
