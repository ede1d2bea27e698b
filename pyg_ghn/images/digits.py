r"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch

from pyg_ghn.images.source import ImageSource, resized


def load_digits(root: Path | None = None, image_size: int | None = None) -> ImageSource:
    r"""The 1797 images of 8 x 8 pixels of :func:`sklearn.datasets.load_digits`. One fifth of each
    class, always the same images, is the test split.

    Args:
        root (pathlib.Path, optional): Not read: the images come with scikit-learn.
            (default: :obj:`None`)
        image_size (int, optional): Size to scale the images to, by default their own.
            (default: :obj:`None`)
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels are 0 to 16; 15 is the largest factor that keeps them whole and within a byte.
    images = torch.from_numpy(digits.images).mul(15).to(torch.uint8).unsqueeze(1)
    images = resized(images, image_size)
    labels = torch.from_numpy(digits.target).long()
    return ImageSource.hold_out(images, labels, tuple(str(name) for name in digits.target_names))
