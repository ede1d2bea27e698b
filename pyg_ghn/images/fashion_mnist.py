r"""Fashion-MNIST from local files."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageSource

if TYPE_CHECKING:
    from torchvision.datasets import FashionMNIST

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PADDING = 2  # 28 x 28 to 32 x 32 pixels


def load_fashion_mnist(root: Path, archives: str | os.PathLike | None = None) -> ImageSource:
    r"""The images of `"Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms" <https://arxiv.org/abs/1708.07747>`_, padded with black to 32 x 32 pixels.

    Files are read from where torchvision keeps them, :obj:`root/FashionMNIST/raw`. Those that are
    not there are extracted from the first folder with the ``.gz`` archive: :obj:`archives`,
    :obj:`root`, the folder of the Debian package dataset-fashion-mnist. Nothing is downloaded.

    Args:
        root (pathlib.Path): The root folder, as torchvision understands it.
        archives (str or os.PathLike, optional): A folder with the four ``.gz`` files.
            (default: :obj:`None`)

    Raises:
        ImageDataError: If files are neither there nor in an archive, or are damaged.
    """
    from torchvision.datasets import FashionMNIST

    raw = root / "FashionMNIST" / "raw"
    _provide(raw, [*([Path(archives)] if archives is not None else []), root, PACKAGE_FOLDER])
    train, test = (_read(FashionMNIST, root, part) for part in (True, False))
    train_images, test_images = (
        F.pad(part.data, [PADDING] * 4).unsqueeze(1) for part in (train, test)
    )
    classes = tuple(FashionMNIST.classes)
    return ImageSource(train_images, train.targets, test_images, test.targets, classes)


def _provide(raw: Path, folders: list[Path]) -> None:
    missing = [name for name in FILES if not (raw / name).is_file()]
    found = {}
    for name in missing:
        candidates = (folder / f"{name}.gz" for folder in folders)
        found[name] = next((path for path in candidates if path.is_file()), None)
    absent = [name for name, archive in found.items() if archive is None]
    if absent:
        raise ImageDataError(
            f"Fashion-MNIST is not there: found neither {', '.join(absent)} in {raw} nor the same "
            f"names with .gz in {', '.join(str(folder) for folder in folders)}. Install the "
            f"Debian package (apt install {PACKAGE}), pass the folder of the archives as "
            f"`archives`, or, with a network, run torchvision.datasets.FashionMNIST("
            f"{str(raw.parent.parent)!r}, download=True) once."
        )
    for name, archive in found.items():
        _extract(archive, raw / name)


def _extract(archive: Path, target: Path) -> None:
    # Extracted, not copied: the package's archives are compressed otherwise than torchvision's, so
    # that their checksums differ although their contents are the same.
    try:
        with gzip.open(archive) as packed, atomic_path(target) as path, path.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ImageDataError(f"{archive} is damaged ({error}); fetch it again.") from error


def _read(dataset: type[FashionMNIST], root: Path, train: bool) -> FashionMNIST:
    images, labels = FILES[:2] if train else FILES[2:]
    raw = root / "FashionMNIST" / "raw"
    try:
        part = dataset(root, train=train, download=False)
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ImageDataError(
            f"{images} or {labels} in {raw} is damaged ({error}); delete both."
        ) from error
    if len(part.data) != len(part.targets):
        raise ImageDataError(
            f"{images} in {raw} has {len(part.data)} images but {labels} {len(part.targets)} "
            "labels; delete both."
        )
    return part
