r"""Images in folders, one for each class: own ones and ImageNet's."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageFiles, ImageSource, check_size

IMAGENET_STATISTICS = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def load_image_folder(root: Path, image_size: int = 32) -> ImageSource:
    r"""Images of any size and of the usual formats, in :obj:`root/train/CLASS/` and
    :obj:`root/test/CLASS/`, scaled so that their shorter side has :obj:`image_size` pixels and
    cropped to the square in the middle. Without :obj:`root/test` one fifth of each class, always
    the same images, is held out for it. Hidden files and folders (:obj:`.ipynb_checkpoints`) are
    ignored.

    Images of 16 bits keep their levels, scaled to bytes. Images of floats or 32-bit integers are
    taken to reach from 0 to the first of 1 (floats only), 255 and 65535 that none of their pixels
    exceeds (floats by more than a tenth), else from their least to their largest value."""
    source = _folders(root, "test", image_size)
    parts = source.train_images, source.test_images
    try:
        train, test = (images[torch.arange(len(images))] for images in parts)
    except RuntimeError as error:
        raise ImageDataError(
            f"The {len(source.train_labels) + len(source.test_labels):,} images of {root} do not "
            f"fit in memory at {image_size} x {image_size} pixels: choose a smaller image_size."
        ) from error
    return replace(source, train_images=train, test_images=test)


def load_imagenet(root: Path, image_size: int = 224) -> ImageSource:
    r"""`"ImageNet: A large-scale hierarchical image database"
    <https://doi.org/10.1109/CVPR.2009.5206848>`_ in the folders of torchvision,
    :obj:`root/train/CLASS/` and :obj:`root/val/CLASS/`, whose images are the test split. Any other
    image set too large for the memory may stand there. Images are decoded each time they are drawn,
    by threads, sized as by :func:`load_image_folder`, and normalized with ImageNet's usual mean and
    standard deviation."""
    if not (root / "val").is_dir():
        raise ImageDataError(
            f"No folder {root / 'val'}. ImageNet is expected at {root / 'train' / 'CLASS'} and "
            f"{root / 'val' / 'CLASS'}, as torchvision.datasets.ImageNet({str(root)!r}, 'val') and "
            "'train' unpack its archives; pass their folder (--image_root, in Python `root`)."
        )
    return replace(_folders(root, "val", image_size), statistics=IMAGENET_STATISTICS)


def _folders(root: Path, test: str, image_size: int) -> ImageSource:
    check_size(image_size)
    classes, paths, labels = _find(root / "train")
    images = ImageFiles(paths, image_size)
    if not (root / test).is_dir():
        return ImageSource.hold_out(images, labels, classes)
    test_classes, test_paths, test_labels = _find(root / test)
    if test_classes != classes:
        raise ImageDataError(
            f"{root / 'train'} and {root / test} must have the same class folders; only one of "
            f"them has {', '.join(sorted({*test_classes} ^ {*classes}))}."
        )
    return ImageSource(images, labels, ImageFiles(test_paths, image_size), test_labels, classes)


def _find(folder: Path) -> tuple[tuple[str, ...], list[Path], Tensor]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    if not folder.is_dir():
        above = f" Did you mean {folder.parent.parent}?" * (folder.parent.name == folder.name)
        raise ImageDataError(
            f"No folder {folder}. Own images are expected at {folder / 'CLASS' / '*.png'} (or any "
            "other image format), with one folder per class; pass the folder that has "
            f"{folder.name} (--image_root, in Python `root`).{above}"
        )
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    paths: dict[Path, int] = {}
    for label, name in enumerate(classes):
        before, seen = len(paths), set()
        for parent, folders, names in os.walk(folder / name, followlinks=True):
            if (real := os.path.realpath(parent)) in seen:  # a link to a folder above it
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for file in sorted(names):
                if file[0] != "." and file.lower().endswith(IMG_EXTENSIONS):
                    paths[Path(parent, file)] = label
        if len(paths) == before:
            raise ImageDataError(
                f"No images by class in {folder}: {name} has no file that ends in "
                f"{', '.join(IMG_EXTENSIONS)}."
            )
    if not paths:
        raise ImageDataError(f"No images by class in {folder}: it has no folders.")
    if len(classes) == 1:
        raise ImageDataError(f"{folder} has one class only, {classes[0]}: there is none beside it.")
    return tuple(classes), list(paths), torch.tensor(list(paths.values()))
