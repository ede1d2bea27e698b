r"""How large the signal is on its way through a network."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pyg_ghn.errors import GHNError
from pyg_ghn.evaluation.proxies import working_copy


def activation_variances(model: nn.Module, images: Tensor) -> list[tuple[str, float]]:
    r"""The variance of the activations after each convolution and linear layer for one mini-batch
    (Figures 6 and 9 of the `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet
    Models?" <https://arxiv.org/abs/2303.04143>`_ paper). BatchNorm uses the statistics of the
    batch, dropout is off.

    Args:
        model (torch.nn.Module): The network with its parameters, in any mode. It is not changed.
        images (Tensor): Images :math:`[B, C, H, W]`, normalized as the network's inputs are.

    Returns:
        Names of the :class:`~torch.nn.Conv2d` and :class:`~torch.nn.Linear` layers in the order in
        which they run, each with the variance over all values of its output. A layer that runs
        several times is there as often; one whose weight is used without calling it, as those
        inside of :class:`~torch.nn.MultiheadAttention`, is not.

    Raises:
        GHNError: If the forward pass fails on the images.
    """
    found: list[tuple[str, Tensor]] = []

    def see(name: str, layer: nn.Module, args: Any, out: Tensor) -> None:
        found.append((name, out.double().var(correction=0)))

    try:
        with working_copy(model, images) as (net, x), torch.no_grad():
            for name, module in net.named_modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.register_forward_hook(partial(see, name))
            net(x)
    except Exception as error:  # whatever the model's code raises
        raise GHNError(
            f"The forward pass of {type(model).__name__} fails on images of shape "
            f"{tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    return [(name, float(variance)) for name, variance in found]
