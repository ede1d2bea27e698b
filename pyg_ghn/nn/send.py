r"""From the CPU to the device."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    r"""The tensor on the device. On the way from the CPU to a GPU nobody waits for the work that
    the GPU has still to do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)  # the other way the host must wait for the values
