r"""What a reader of an image set returns, images in files among it, and the choice of held-out
images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyg_ghn.errors import ConfigError, ImageDataError

TEST_FRACTION = 0.2
TEST_SEED = 0
MAX_SIZE = 4096
MAX_ASPECT = 100  # longer images would be scaled to something huge, of which little is kept


@dataclass(frozen=True, eq=False)
class ImageSource:
    r"""Images as they were read: bytes of shape :math:`[N, C, H, W]`, one or three channels, or the
    files that hold them. Those in files need the mean and standard deviation of each channel."""

    train_images: Tensor | ImageFiles
    train_labels: Tensor
    test_images: Tensor | ImageFiles
    test_labels: Tensor
    classes: tuple[str, ...]
    statistics: tuple[Tensor, Tensor] | None = None

    @classmethod
    def hold_out(
        cls, images: Tensor | ImageFiles, labels: Tensor, classes: tuple[str, ...]
    ) -> ImageSource:
        """One fifth of each class, always the same images, becomes the test split."""
        rest, test = stratified_holdout(labels, TEST_FRACTION, TEST_SEED)
        return cls(take(images, rest), labels[rest], take(images, test), labels[test], classes)


def take(images: Tensor | ImageFiles, index: Tensor) -> Tensor | ImageFiles:
    """The images at :obj:`index`; those in files stay there."""
    return images.take(index) if isinstance(images, ImageFiles) else images[index]


def stratified_holdout(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Splits indices so that the second part gets a share of every class, at least one image of
    each class that has two or more. Both parts are ascending."""
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        chosen = torch.randperm(len(members), generator=generator)[:count]
        held_out[members[chosen]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def check_size(image_size: int) -> None:
    """Refuses what is no number of pixels from 1 to 4096."""
    if not isinstance(image_size, int) or not 1 <= image_size <= MAX_SIZE:
        raise ConfigError(f"image_size must be a number from 1 to {MAX_SIZE}, got {image_size!r}.")


def resized(images: Tensor, image_size: int | None) -> Tensor:
    """Square images as bytes, scaled to :obj:`image_size`; as they are if it is :obj:`None`."""
    if image_size is None or images.shape[-1] == image_size:
        return images
    from torchvision.transforms.v2.functional import resize

    check_size(image_size)
    # Part by part: in between there are floats, which take four times the memory.
    return torch.cat(
        [resize(part, [image_size] * 2, antialias=True) for part in images.split(4096)]
    )


class ImageFiles:
    r"""Images that are decoded each time they are asked for, by threads, scaled so that their
    shorter side has :obj:`image_size` pixels and cropped to the square in the middle. To an
    :class:`~pyg_ghn.images.ImageSplit` it is a tensor: it has a shape and a device, and
    :obj:`images[index]` are bytes of shape :math:`[B, 3, S, S]`."""

    def __init__(self, paths: Sequence[Path], image_size: int, device: torch.device | str = "cpu"):
        self.paths = paths
        self.image_size = image_size
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), 3, self.image_size, self.image_size))

    def __getitem__(self, index: Tensor) -> Tensor:
        from torchvision.transforms import v2

        transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize(self.image_size, antialias=True),
                v2.CenterCrop(self.image_size),
            ]
        )
        images = torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8)

        def decode(place: int, path: Path) -> None:
            try:
                images[place].copy_(transform(_open(path)))
            except Exception as error:  # the errors of Pillow's decoders have no class in common
                raise ImageDataError(f"{path} cannot be read as an image: {error}") from error

        with ThreadPoolExecutor() as pool:  # decoders run beside each other
            list(pool.map(decode, range(len(index)), self.take(index).paths))
        return images.to(self.device)

    def take(self, index: Tensor) -> ImageFiles:
        """Some of the images, still in their files."""
        return ImageFiles([self.paths[i] for i in index.tolist()], self.image_size, self.device)

    def to(self, device: torch.device | str) -> ImageFiles:
        """The same images, decoded to another device."""
        return ImageFiles(self.paths, self.image_size, device)


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
    slack = 1.1 if pixels.dtype.kind == "f" else 1  # resampling reaches beyond white
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("it has pixels that are not finite.")
    low, high = pixels.min(), pixels.max()
    white = next((white for white in whites if low >= 0 and high <= white * slack), None)
    if white is not None:
        low, high = 0, white
    pixels = np.rint((pixels - low) * (255 / max(high - low, 1e-300)))
    return pixels.clip(max=255).astype(np.uint8)
