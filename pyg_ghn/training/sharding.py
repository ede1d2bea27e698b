r"""GHNs beyond one device: parameters, gradients and moments divided among processes (FSDP)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from pyg_ghn.errors import ConfigError


def shard(ghn: nn.Module, device: torch.device, num_processes: int) -> None:
    r"""Divides the parameters of a GHN among all processes, in place, by
    :func:`torch.distributed.fsdp.fully_shard`. The layers in its module lists and its decoder,
    which have nearly all of them, are put together only while they compute.

    Args:
        ghn (torch.nn.Module): The GHN, before there is an optimizer of its parameters.
        device (torch.device): The device of this process.
        num_processes (int): How many there are.

    Raises:
        ConfigError: If there is one only.
    """
    if num_processes == 1:
        raise ConfigError(
            "shard divides a GHN among processes, and there is one: start several, with "
            "--processes 2 or torchrun."
        )
    mesh = init_device_mesh(device.type, (num_processes,))
    for name, child in ghn.named_children():
        for part in child if isinstance(child, nn.ModuleList) else [child] * (name == "decoder"):
            fully_shard(part, mesh=mesh)
    name = type(ghn).__name__
    fully_shard(ghn, mesh=mesh)
    type(ghn).__name__ = name  # of the class that fully_shard derived: what a checkpoint says


def whole(state: Any) -> Any:
    r"""A state dict with its divided tensors put together in the CPU's memory, others as they are.
    All processes have to call it."""
    return tree_map_only(DTensor, lambda tensor: tensor.detach().full_tensor().cpu(), state)


def laid_out(tensor: Tensor, like: Any) -> Tensor:
    r"""A whole tensor, the same in all processes, divided as another one is, if that is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
