r"""Readers of image sets: scikit-learn's digits, CIFAR, Fashion-MNIST, and folders of own images or
ImageNet's, with one folder for each class."""

import gzip
import os
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageFiles, ImageSource, resized

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SIZE = 28
IMAGENET_STATISTICS = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def load_digits(root: Path | None = None, image_size: int | None = None) -> ImageSource:
    r"""The 1797 images of 8 x 8 pixels of :func:`sklearn.datasets.load_digits`, whatever the root.
    One fifth of each class, always the same images, is the test split."""
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels are 0 to 16; 15 is the largest factor that keeps them whole and within a byte.
    images = torch.from_numpy(digits.images).mul(15).to(torch.uint8).unsqueeze(1)
    images = resized(images, image_size)
    labels = torch.from_numpy(digits.target).long()
    return ImageSource.hold_out(images, labels, tuple(str(name) for name in digits.target_names))


def load_cifar(root: Path, image_size: int | None = None, name: str = "CIFAR10") -> ImageSource:
    r"""The images of 32 x 32 pixels of `"Learning Multiple Layers of Features from Tiny Images"
    <https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf>`_, read from where torchvision,
    whose class :obj:`name` is, keeps them. Nothing is downloaded. The files are pickles, which can
    run code: torchvision opens none that differs from the published ones."""
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


def load_fashion_mnist(
    root: Path, archives: str | os.PathLike | None = None, image_size: int = 32
) -> ImageSource:
    r"""The images of `"Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms" <https://arxiv.org/abs/1708.07747>`_, 28 x 28 pixels, padded with black or scaled
    down to another size.

    Files are read from where torchvision keeps them, :obj:`root/FashionMNIST/raw`. Those that are
    not there are extracted from the first folder with the ``.gz`` archive: :obj:`archives`,
    :obj:`root`, the folder of the Debian package dataset-fashion-mnist. Nothing is downloaded."""
    from torchvision.datasets import FashionMNIST

    folders = [*([Path(archives)] if archives is not None else []), root, PACKAGE_FOLDER]
    _extract_missing(root / "FashionMNIST" / "raw", folders)
    train, test = _read(root, True, image_size), _read(root, False, image_size)
    return ImageSource(*train, *test, tuple(FashionMNIST.classes))


def _extract_missing(raw: Path, folders: list[Path]) -> None:
    archives = {
        raw / name: next((p for f in folders if (p := f / f"{name}.gz").is_file()), None)
        for name in FILES
        if not (raw / name).is_file()
    }
    absent = [target.name for target, archive in archives.items() if archive is None]
    if absent:
        raise ImageDataError(
            f"Fashion-MNIST is not there: found neither {', '.join(absent)} in {raw} nor the same "
            f"names with .gz in {', '.join(str(folder) for folder in folders)}. Install the Debian "
            "package (apt install dataset-fashion-mnist), pass their folder (--image_root, in "
            "Python `root` or `archives`), or, with a network, run "
            f"torchvision.datasets.FashionMNIST({str(raw.parent.parent)!r}, download=True) once."
        )
    for target, archive in archives.items():
        # Extracted, not copied: torchvision's checksums are of other archives of the same files.
        try:
            with gzip.open(archive) as packed, atomic_path(target) as path, path.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ImageDataError(f"{archive} is damaged ({error}); fetch it again.") from error


def _read(root: Path, train: bool, image_size: int) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import FashionMNIST

    images, labels = FILES[:2] if train else FILES[2:]
    raw = root / "FashionMNIST" / "raw"
    try:
        part = FashionMNIST(root, train=train, download=False)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ImageDataError(
            f"{images} or {labels} in {raw} is damaged ({error}); delete both."
        ) from error
    if len(part.data) != len(part.targets):
        raise ImageDataError(
            f"{images} in {raw} has {len(part.data)} images but {labels} {len(part.targets)} "
            "labels; delete both."
        )
    before, after = max(image_size - SIZE, 0) // 2, (max(image_size - SIZE, 0) + 1) // 2
    images = F.pad(part.data, [before, after] * 2).unsqueeze(1)
    return resized(images, image_size), part.targets


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
