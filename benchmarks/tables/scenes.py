r"""Images with objects in them, in the format of Penn-Fudan, and the average precision of what is
found there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images.readers import load_digits

Scene = tuple[Tensor, Tensor]
r"""Bytes of an image :math:`[3, H, W]` and the boxes :math:`[N, 4]` of its objects, from left and
top to right and bottom."""


def read_scenes(root: Path) -> list[Scene]:
    r"""Reads ``PNGImages/NAME.png`` and, of each, ``PedMasks/NAME_mask.png``, in which pixels of
    the first object are 1, those of the second 2 and so on, and all others 0.

    Raises:
        ImageDataError: If a file is missing, damaged or no such mask.
    """
    scenes = []
    for path in sorted(root.glob("PNGImages/*.png")):
        mask_path = root / "PedMasks" / f"{path.stem}_mask.png"
        try:
            with Image.open(path) as image, Image.open(mask_path) as mask:
                pixels, mask = np.array(image.convert("RGB")), torch.from_numpy(np.array(mask))
        except (OSError, SyntaxError) as error:  # Pillow's for a damaged PNG
            raise ImageDataError(f"{path} and its {mask_path} can't be read: {error}") from error
        if mask.shape != pixels.shape[:2]:
            raise ImageDataError(
                f"{mask_path} must have one channel and the size of its image: "
                f"{tuple(mask.shape)}, {pixels.shape[:2]}."
            )
        boxes = []
        for value in mask.unique():
            if value > 0:
                y, x = (mask == value).nonzero().T
                boxes.append([int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1])
        boxes = torch.tensor(boxes, dtype=torch.float).view(-1, 4)
        scenes.append((torch.from_numpy(pixels).permute(2, 0, 1), boxes))
    if not scenes:
        raise ImageDataError(f"{root} has no PNGImages/*.png: --detection_root must be Penn-Fudan.")
    return scenes


def draw_scenes(root: Path, count: int, size: int = 64, seed: int = 0) -> None:
    r"""Draws one to three handwritten digits in a colour of their own on textured backgrounds, and
    writes them in the format of Penn-Fudan."""
    generator = torch.Generator().manual_seed(seed)
    digits = load_digits().train_images.float() / 240  # 0 to 1

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def below(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = F.interpolate(rand(1, 3, 8, 8), (size, size), mode="bicubic")[0]
        image = 0.5 * image + 0.2 * rand(3, size, size)
        mask = torch.zeros(size, size, dtype=torch.uint8)
        for value in range(1, 2 + below(3)):
            side = size // 4 + below(size // 4)
            digit = F.interpolate(digits[below(len(digits))][None], (side, side), mode="bilinear")
            for _ in range(20):  # not on another digit
                y, x = below(size - side + 1), below(size - side + 1)
                place = (slice(y, y + side), slice(x, x + side))
                if not mask[place].any():
                    break
            else:
                continue
            alpha, colour = digit[0], 0.4 + 0.6 * rand(3, 1, 1)
            patch = image[(..., *place)]
            patch.lerp_(colour.expand_as(patch), alpha)
            mask[place][alpha[0] > 0.5] = value
        pixels = image.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(root / "PNGImages" / f"digits{i:05}.png")
        Image.fromarray(mask.numpy()).save(root / "PedMasks" / f"digits{i:05}_mask.png")


def average_precision(
    found: Sequence[tuple[Tensor, Tensor]], true: Sequence[Tensor], iou: float = 0.5
) -> float:
    r"""Average precision as COCO computes it: the mean over the recalls 0, 0.01, ..., 1 of the best
    precision at that recall or a higher one, which is 0 for recalls that are not reached. The 100
    most certain boxes of each image count; beginning with the most certain one, each takes the
    object that it overlaps most of those that no other box has.

    Args:
        found (sequence): The boxes found in each image, :math:`[N, 4]`, and their scores.
        true (sequence): The boxes of each image's objects.
        iou (float): How much boxes must overlap, their intersection over their union.
    """
    scores, hits = [torch.zeros(0)], []
    for (boxes, certain), objects in zip(found, true, strict=True):
        order = certain.argsort(descending=True, stable=True)[:100]
        scores.append(certain[order])
        overlaps = box_iou(boxes[order], objects)
        for row in range(len(overlaps)):
            best = overlaps[row].max(dim=0) if len(objects) else None
            hits.append(best is not None and float(best.values) >= iou)
            if hits[-1]:
                overlaps[:, best.indices] = -1
    order = torch.cat(scores).argsort(descending=True, stable=True).cpu()
    right = np.array(hits, dtype=bool)[order].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    at = np.searchsorted(right / max(1, sum(map(len, true))), np.linspace(0, 1, 101))
    return float(precision[at].mean())
