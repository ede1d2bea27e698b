r"""Readers of known image sets: scikit-learn's digits, CIFAR and Fashion-MNIST."""

import gzip
import os
import shutil
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageSource, check_size, resized

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SIZE = 28


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

    check_size(image_size)
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
            f"names with .gz in {', '.join(str(folder) for folder in folders)}. Install the "
            f"Debian package (apt install {PACKAGE}), pass their folder (--image_root, in Python "
            f"`root` or `archives`), or, with a network, run torchvision.datasets.FashionMNIST("
            f"{str(raw.parent.parent)!r}, download=True) once."
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
