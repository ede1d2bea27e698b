r"""Own images, one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.images.source import ImageSource

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder


def load_image_folder(root: Path, image_size: int = 32) -> ImageSource:
    r"""Images of any size and format that Pillow reads, in :obj:`root/train/CLASS/` and
    :obj:`root/test/CLASS/`. Without :obj:`root/test` one fifth of each class, always the same
    images, is held out for it.

    Args:
        root (pathlib.Path): The folder that holds ``train`` and perhaps ``test``.
        image_size (int, optional): Images are scaled so that their shorter side has this many
            pixels, and cropped to the square in the middle. (default: :obj:`32`)

    Raises:
        ConfigError: If :obj:`image_size` is not positive.
        ImageDataError: If folders are missing or empty, an image cannot be read, or the classes of
            the two parts differ.
    """
    if image_size < 1:
        raise ConfigError(f"image_size must be positive, got {image_size}.")
    train = _open(root / "train")
    images, labels = _read(train, image_size)
    classes = tuple(train.classes)
    if not (root / "test").is_dir():
        return ImageSource.hold_out(images, labels, classes)
    test = _open(root / "test")
    if test.classes != train.classes:
        different = sorted({*test.classes} ^ {*train.classes})
        raise ImageDataError(
            f"{root / 'train'} and {root / 'test'} must have the same class folders; only one of "
            f"them has {', '.join(different)}."
        )
    return ImageSource(images, labels, *_read(test, image_size), classes)


def _open(folder: Path) -> ImageFolder:
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise ImageDataError(
            f"No folder {folder}. Own images are expected at {folder / 'CLASS' / '*.png'} (or any "
            "other image format), with one folder per class; pass their `root`."
        )
    try:
        return ImageFolder(folder)
    except FileNotFoundError as error:
        raise ImageDataError(f"No images by class in {folder}: {error}") from error


def _read(folder: ImageFolder, image_size: int) -> tuple[Tensor, Tensor]:
    from torchvision.transforms import v2

    transform = v2.Compose(
        [v2.PILToTensor(), v2.Resize(image_size, antialias=True), v2.CenterCrop(image_size)]
    )
    images = torch.empty((len(folder.samples), 3, image_size, image_size), dtype=torch.uint8)
    for image, (path, _) in zip(images, folder.samples, strict=True):
        try:
            image.copy_(transform(folder.loader(path)))
        except OSError as error:  # Pillow's errors, truncated files included
            raise ImageDataError(f"{path} cannot be read as an image: {error}") from error
    return images, torch.tensor(folder.targets)
