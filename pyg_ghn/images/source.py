r"""What a reader of an image set returns, the choice of held-out images, and the handwritten digits
that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

TEST_FRACTION = 0.2
TEST_SEED = 0


@dataclass(frozen=True, eq=False)
class ImageSource:
    r"""Images as they were read: bytes of shape :math:`[N, C, H, W]`, one or three channels."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]

    @classmethod
    def hold_out(cls, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> ImageSource:
        """One fifth of each class, always the same images, becomes the test split."""
        rest, test = stratified_holdout(labels, TEST_FRACTION, TEST_SEED)
        return cls(images[rest], labels[rest], images[test], labels[test], classes)


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


def load_digits(root: Path | None = None) -> ImageSource:
    r"""The 1797 images of 8 x 8 pixels of :func:`sklearn.datasets.load_digits`. One fifth of each
    class, always the same images, is the test split.

    Args:
        root (pathlib.Path, optional): Not read: the images come with scikit-learn.
            (default: :obj:`None`)
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels are 0 to 16; 15 is the largest factor that keeps them whole and within a byte.
    images = torch.from_numpy(digits.images).mul(15).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    return ImageSource.hold_out(images, labels, tuple(str(name) for name in digits.target_names))
