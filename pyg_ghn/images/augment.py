r"""Random changes of images that keep their class."""

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    r"""Turns, zooms, shifts and mirrors each image of a batch by its own random amount. What comes
    in from outside of an image continues its border.

    Args:
        rotation (float): Largest rotation to either side, in degrees. (default: :obj:`0.0`)
        zoom (float): Largest change of width and height, drawn apart, as a share of them.
            (default: :obj:`0.0`)
        shift (float): Largest shift along each side, as a share of it. (default: :obj:`0.0`)
        flip (bool): Whether half of the images are mirrored left to right. (default: :obj:`False`)
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Changed images :math:`[B, C, H, W]`, in the memory format of the given ones. With
        nothing to change they are returned as they are, and nothing is drawn."""
        if not (self.rotation or self.zoom or self.shift or self.flip):
            return images
        where = generator.device if generator is not None else images.device
        draws = torch.rand(6, len(images), generator=generator, device=where).to(images)
        angle, x_zoom, y_zoom, x_shift, y_shift = (2 * draws[:5] - 1).unbind()
        angle = angle * self.rotation * pi / 180
        mirror = torch.where(draws[5] < 0.5, -1, 1) if self.flip else 1
        width, height = mirror * (1 + self.zoom * x_zoom), 1 + self.zoom * y_zoom
        # Coordinates reach from -1 to 1: a whole side is 2. On images that are not square, angles
        # are those of the square that they are scaled to.
        rows = (
            (width * angle.cos(), -height * angle.sin(), 2 * self.shift * x_shift),
            (width * angle.sin(), height * angle.cos(), 2 * self.shift * y_shift),
        )
        theta = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
