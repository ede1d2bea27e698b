r"""Image sets by name, split and normalized."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.images import folder, readers
from pyg_ghn.images.source import ImageFiles, ImageSource, stratified_holdout, take

IMAGE_SETS: dict[str, Callable[..., ImageSource]] = {
    "digits": readers.load_digits,
    "fashion_mnist": readers.load_fashion_mnist,
    "cifar10": readers.load_cifar,
    "cifar100": partial(readers.load_cifar, name="CIFAR100"),
    "imagenet": folder.load_imagenet,
    "image_folder": folder.load_image_folder,
}
r"""Name of an image set to the function that reads it."""


@dataclass(frozen=True, eq=False)
class ImageSplit:
    r"""Images of one split, kept as bytes or in files, and normalized batch by batch.

    Args:
        images (Tensor or ImageFiles): Bytes (:obj:`torch.uint8`) of shape :math:`[N, C, H, W]` with
            one or three channels, or the files that they are decoded from. Grey images are repeated
            to three channels when a batch is drawn.
        labels (Tensor): Classes (:obj:`torch.long`) of shape :math:`[N]`.
        mean (Tensor): Mean of each stored channel for pixels in :math:`[0, 1]`, shape :math:`[C]`.
        std (Tensor): Standard deviation of each stored channel, shape :math:`[C]`.
    """

    images: Tensor | ImageFiles
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        size = " x ".join(str(n) for n in self.images.shape[1:])
        return f"{type(self).__name__}({len(self)} images, {size})"

    def to(self, device: torch.device | str) -> ImageSplit:
        """The same split with its bytes on another device."""
        tensors = ("images", "labels", "mean", "std")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def subset(self, count: int, seed: int = 0) -> ImageSplit:
        """At most :obj:`count` of the images, drawn with a seed of their own: always the same."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        order = order.to(self.images.device)
        return replace(self, images=take(self.images, order), labels=self.labels[order])

    def batch(
        self, index: Tensor, device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""The images at :obj:`index`, normalized, of shape :math:`[B, 3, H, W]`, and their labels,
        of shape :math:`[B]`, by default where the split is."""
        device = self.images.device if device is None else device
        index = index.to(self.images.device, non_blocking=True)
        # Bytes travel, floats are made on the other side: a quarter of the traffic.
        images, labels, mean, std = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.images[index], self.labels[index], self.mean, self.std)
        )
        scale = 1 / (255 * std)
        images = torch.addcmul(
            (-mean / std).view(-1, 1, 1), images.to(scale.dtype), scale.view(-1, 1, 1)
        )
        return (images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images), labels

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Goes over all images once.

        A last batch of a single image is merged into the one before it: BatchNorm with batch
        statistics needs more than one value per channel.

        Args:
            batch_size (int): The number of images per batch.
            generator (torch.Generator, optional): Draws the order. Without it images come as they
                are stored. (default: :obj:`None`)
            device (torch.device or str, optional): Where batches are wanted, by default where the
                images are. (default: :obj:`None`)

        Raises:
            ConfigError: If :obj:`batch_size` is not positive.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be positive, got {batch_size}.")
        if generator is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
        full, rest = divmod(len(self), batch_size)
        sizes = [batch_size] * full + [rest] * (rest > 0)
        if rest == 1 and full > 0:
            sizes[-2:] = [batch_size + 1]
        parts = order.to(self.images.device).split(sizes)
        return (self.batch(part, device) for part in parts)

    def sample(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """A batch drawn at random, with replacement. All of its state is the generator's."""
        where = generator.device if generator is not None else None
        index = torch.randint(len(self), (batch_size,), generator=generator, device=where)
        return self.batch(index, device)


@dataclass(frozen=True, eq=False)
class ImageData:
    r"""An image set, cut into training, validation and test images.

    Args:
        name (str): Its name in :obj:`IMAGE_SETS`.
        train (ImageSplit): Images to train on. All splits are normalized with the mean and standard
            deviation of these alone.
        val (ImageSplit): Images to choose models by.
        test (ImageSplit): Images for the final figures, never mixed with the others.
        classes (tuple): Names of the classes, in the order of the labels.
    """

    name: str
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Size of one image as a network sees it: three channels, height, width."""
        height, width = self.train.images.shape[2:]
        return 3, height, width

    def to(self, device: torch.device | str) -> ImageData:
        """The same images on another device."""
        splits = ("train", "val", "test")
        return replace(self, **{name: getattr(self, name).to(device) for name in splits})

    def __repr__(self) -> str:
        size = " x ".join(str(n) for n in self.input_size)
        return (
            f"{type(self).__name__}({self.name}, {size}, {self.num_classes} classes, "
            f"train={len(self.train)}, val={len(self.val)}, test={len(self.test)})"
        )


def get_image_data(
    name: str,
    root: str | os.PathLike | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    num_images: int | None = None,
    **options: Any,
) -> ImageData:
    r"""Loads an image set.

    ================  =============  ========================================================
    name              input          where it comes from
    ================  =============  ========================================================
    ``digits``        3 x 8 x 8      scikit-learn, which brings its files along
    ``fashion_mnist`` 3 x 32 x 32    torchvision's files under ``root``, or the four ``.gz``
                                     archives (option ``archives``, or the Debian package)
    ``cifar10``       3 x 32 x 32    torchvision's files under ``root``
    ``cifar100``      3 x 32 x 32    torchvision's files under ``root``
    ``imagenet``      3 x 224 x 224  torchvision's folders ``root/train/CLASS`` and
                                     ``root/val/CLASS``; not held in memory
    ``image_folder``  3 x 32 x 32    own images, ``root/train/CLASS/*.png`` and optionally
                                     ``root/test/CLASS/*.png``
    ================  =============  ========================================================

    Args:
        name (str): One of :obj:`IMAGE_SETS`.
        root (str or os.PathLike, optional): Folder of the files, by default :func:`data_root`.
            (default: :obj:`None`)
        val_fraction (float, optional): Share of each class's training images that becomes the
            validation split. (default: :obj:`0.1`)
        seed (int, optional): Seed of the choice of validation images. The test images do not depend
            on it. (default: :obj:`0`)
        image_size (int, optional): Height and width that images are scaled or padded to, by default
            those of the table. (default: :obj:`None`)
        num_images (int, optional): So many validation and test images at most, always the same
            ones, for faster evaluations. (default: :obj:`None`, all)
        **options: Further arguments of the function in :obj:`IMAGE_SETS`.

    Raises:
        ConfigError: If :obj:`val_fraction` does not lie between 0 and 1, :obj:`image_size` is not a
            number from 1 to 4096, :obj:`num_images` is less than 1, or digits have a :obj:`root`.
        ImageDataError: If the name is unknown, or files are missing or damaged.
    """
    if name not in IMAGE_SETS:
        raise ImageDataError(f"Unknown image set {name!r}; known are {', '.join(IMAGE_SETS)}.")
    if name == "digits" and root is not None:
        raise ConfigError("digits come with scikit-learn: leave out image_root.")
    if not 0 < val_fraction < 1:
        raise ConfigError(f"val_fraction must lie between 0 and 1, got {val_fraction}.")
    if num_images is not None and num_images < 1:
        raise ConfigError(f"num_images must be 1 or more, got {num_images}.")
    if image_size is not None:
        options["image_size"] = image_size
    source = IMAGE_SETS[name](root=data_root() if root is None else Path(root), **options)
    train, val = stratified_holdout(source.train_labels, val_fraction, seed)
    if len(train) == 0 or len(val) == 0 or len(source.test_labels) == 0:
        raise ImageDataError(
            f"Image set {name!r} is too small to be split: {len(source.train_labels)} images to "
            f"train on, {len(source.test_labels)} to test; each class needs a few of both."
        )
    images = take(source.train_images, train)
    stats = source.statistics or _channel_statistics(images)
    held_out = ImageSplit(take(source.train_images, val), source.train_labels[val], *stats)
    test = ImageSplit(source.test_images, source.test_labels, *stats)
    if num_images is not None:
        held_out, test = held_out.subset(num_images), test.subset(num_images)
    return ImageData(
        name=name,
        train=ImageSplit(images, source.train_labels[train], *stats),
        val=held_out,
        test=test,
        classes=source.classes,
    )


def data_root() -> Path:
    """Where image files are kept: ``$PYG_GHN_DATA``, else ``~/.cache/pyg_ghn`` (or the user's
    ``$XDG_CACHE_HOME``)."""
    if folder := os.environ.get("PYG_GHN_DATA"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyg_ghn"


def _channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of bytes as pixels in [0, 1]: exact, by counting."""
    counts = [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
    share = torch.stack(counts).double() / counts[0].sum()
    value = torch.arange(256, dtype=torch.double) / 255
    mean = share @ value
    variance = (share * (value - mean[:, None]) ** 2).sum(1)
    # A constant channel carries nothing; it only must not be divided by zero.
    return mean.float(), variance.sqrt().clamp(min=1 / 255).float()
