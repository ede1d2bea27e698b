r"""Own images, one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.source import ImageSource, check_size

MAX_ASPECT = 100  # longer images would be scaled to something huge, of which little is kept


def load_image_folder(root: Path, image_size: int = 32) -> ImageSource:
    r"""Images of any size and of the usual formats, in :obj:`root/train/CLASS/` and
    :obj:`root/test/CLASS/`. Without :obj:`root/test` one fifth of each class, always the same
    images, is held out for it. Hidden files and folders (:obj:`.ipynb_checkpoints`) are ignored.

    Images of 16 bits keep their levels, scaled to bytes. Images of floats or 32-bit integers are
    taken to reach from 0 to the first of 1 (floats only), 255 and 65535 that none of their pixels
    exceeds, else from their least to their largest value.

    Args:
        root (pathlib.Path): The folder that holds ``train`` and perhaps ``test``.
        image_size (int, optional): Images are scaled so that their shorter side has this many
            pixels, and cropped to the square in the middle. (default: :obj:`32`)

    Raises:
        ConfigError: If :obj:`image_size` is not a number from 1 to 4096.
        ImageDataError: If folders are missing or empty, an image cannot be read or is too large or
            too thin, or the classes of the two parts differ.
    """
    check_size(image_size)
    classes, *train = _read(root / "train", image_size)
    if not (root / "test").is_dir():
        return ImageSource.hold_out(*train, classes)
    test_classes, *test = _read(root / "test", image_size)
    if test_classes != classes:
        raise ImageDataError(
            f"{root / 'train'} and {root / 'test'} must have the same class folders; only one of "
            f"them has {', '.join(sorted({*test_classes} ^ {*classes}))}."
        )
    return ImageSource(*train, *test, classes)


def _read(folder: Path, image_size: int) -> tuple[tuple[str, ...], Tensor, Tensor]:
    from torchvision.datasets.folder import IMG_EXTENSIONS
    from torchvision.transforms import v2

    if not folder.is_dir():
        raise ImageDataError(
            f"No folder {folder}. Own images are expected at {folder / 'CLASS' / '*.png'} (or any "
            "other image format), with one folder per class; pass their `root`."
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
    transform = v2.Compose(
        [v2.PILToTensor(), v2.Resize(image_size, antialias=True), v2.CenterCrop(image_size)]
    )
    try:
        images = torch.empty((len(paths), 3, image_size, image_size), dtype=torch.uint8)
    except RuntimeError as error:
        raise ImageDataError(
            f"The {len(paths):,} images of {folder} do not fit in memory at {image_size} x "
            f"{image_size} pixels: choose a smaller image_size."
        ) from error
    for image, path in zip(images, paths, strict=True):
        try:
            image.copy_(transform(_open(path)))
        except Exception as error:  # the errors of Pillow's decoders have no class in common
            raise ImageDataError(f"{path} cannot be read as an image: {error}") from error
    return tuple(classes), images, torch.tensor(list(paths.values()))


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise ValueError("it is no regular file.")  # opening a pipe would wait forever
    with Image.open(path, formats=_FORMATS) as image:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise ValueError(f"{image.width} x {image.height} pixels are too thin.")
        if image.mode in _LEVELS:
            # Pillow reads PNG files of 16 bits in one of two modes, depending on its version.
            mode = "I;16" if image.format == "PNG" else image.mode
            return Image.fromarray(_as_bytes(np.asarray(image), _LEVELS[mode])).convert("RGB")
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert("RGB")


# Pillow knows others, for some of which (PostScript) it starts programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Modes of Pillow and what white may be in them.
_LEVELS = {
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), (65535,)),
    "I": (255, 65535),
    "F": (1, 255, 65535),
}


def _as_bytes(pixels: np.ndarray, whites: tuple[int, ...]) -> np.ndarray:
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("it has pixels that are not finite.")
    low, high = pixels.min(), pixels.max()
    white = next((white for white in whites if low >= 0 and high <= white), None)
    if white is not None:
        low, high = 0, white
    return np.rint((pixels - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
