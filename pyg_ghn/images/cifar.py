r"""CIFAR-10 and CIFAR-100 from local files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageSource, resized


def load_cifar(root: Path, image_size: int | None = None, name: str = "CIFAR10") -> ImageSource:
    r"""The images of 32 x 32 pixels of `"Learning Multiple Layers of Features from Tiny Images"
    <https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf>`_, read from where torchvision
    keeps them. Nothing is downloaded. The files are pickles, which can run code: torchvision opens
    none that differs from the published ones.

    Args:
        root (pathlib.Path): The root folder, as torchvision understands it.
        image_size (int, optional): Size to scale the images to, by default their own.
            (default: :obj:`None`)
        name (str, optional): The class of :mod:`torchvision.datasets`, ``CIFAR10`` or ``CIFAR100``.
            (default: :obj:`"CIFAR10"`)

    Raises:
        ConfigError: If :obj:`image_size` is not a number from 1 to 4096.
        ImageDataError: If files are not there or are damaged.
    """
    from torchvision import datasets

    kind = getattr(datasets, name)

    def read(train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        try:
            part = kind(root, train=train, download=False)
        except RuntimeError as error:
            raise ImageDataError(
                f"{name} is not there or damaged: its files are expected in "
                f"{root / kind.base_folder}. Unpack {kind.filename} in {root}, or, with a network, "
                f"run torchvision.datasets.{name}({str(root)!r}, download=True) once."
            ) from error
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        return resized(images, image_size), torch.tensor(part.targets), tuple(part.classes)

    *train, classes = read(True)
    *test, _ = read(False)
    return ImageSource(*train, *test, classes)
