r"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import torch

from pyg_ghn.images.source import ImageSource, stratified_holdout

TEST_FRACTION = 0.2
TEST_SEED = 0


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
    rest, test = stratified_holdout(labels, TEST_FRACTION, TEST_SEED)
    classes = tuple(str(name) for name in digits.target_names)
    return ImageSource(images[rest], labels[rest], images[test], labels[test], classes)
