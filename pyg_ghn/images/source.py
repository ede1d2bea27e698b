r"""What a reader of an image set returns, and the choice of held-out images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSource:
    r"""Images as they were read: bytes of shape :math:`[N, C, H, W]`, one or three channels."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def stratified_holdout(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    r"""Splits indices so that the second part gets a share of every class.

    Args:
        labels (Tensor): Class of each image, shape :math:`[N]`.
        fraction (float): The share; at least one image of each class that has two or more.
        seed (int): Seed of the choice.

    Returns:
        The ascending indices of the images that are kept, and of those held out.
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        chosen = torch.randperm(len(members), generator=generator)[:count]
        held_out[members[chosen]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
