r"""What a reader of an image set returns, and the choice of held-out images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyg_ghn.errors import ConfigError
from pyg_ghn.images.files import ImageFiles

TEST_FRACTION = 0.2
TEST_SEED = 0
MAX_SIZE = 4096


@dataclass(frozen=True, eq=False)
class ImageSource:
    r"""Images as they were read: bytes of shape :math:`[N, C, H, W]`, one or three channels, or the
    files that hold them. Those in files need the mean and standard deviation of each channel."""

    train_images: Tensor | ImageFiles
    train_labels: Tensor
    test_images: Tensor | ImageFiles
    test_labels: Tensor
    classes: tuple[str, ...]
    statistics: tuple[Tensor, Tensor] | None = None

    @classmethod
    def hold_out(
        cls, images: Tensor | ImageFiles, labels: Tensor, classes: tuple[str, ...]
    ) -> ImageSource:
        """One fifth of each class, always the same images, becomes the test split."""
        rest, test = stratified_holdout(labels, TEST_FRACTION, TEST_SEED)
        return cls(take(images, rest), labels[rest], take(images, test), labels[test], classes)


def take(images: Tensor | ImageFiles, index: Tensor) -> Tensor | ImageFiles:
    """The images at :obj:`index`; those in files stay there."""
    return images.take(index) if isinstance(images, ImageFiles) else images[index]


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


def check_size(image_size: int) -> None:
    """Refuses what is no number of pixels.

    Raises:
        ConfigError: If :obj:`image_size` is not a number from 1 to 4096.
    """
    if not isinstance(image_size, int) or not 1 <= image_size <= MAX_SIZE:
        raise ConfigError(f"image_size must be a number from 1 to {MAX_SIZE}, got {image_size!r}.")


def resized(images: Tensor, image_size: int | None) -> Tensor:
    """Square images as bytes, scaled to :obj:`image_size`; as they are if it is :obj:`None`."""
    if image_size is None or images.shape[-1] == image_size:
        return images
    from torchvision.transforms.v2.functional import resize

    check_size(image_size)
    # Part by part: in between there are floats, which take four times the memory.
    return torch.cat(
        [resize(part, [image_size] * 2, antialias=True) for part in images.split(4096)]
    )
