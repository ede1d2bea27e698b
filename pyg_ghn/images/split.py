r"""Images in memory and the random or ordered batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyg_ghn.errors import ConfigError


@dataclass(frozen=True, eq=False)
class ImageSplit:
    r"""Images of one split, kept as bytes and normalized batch by batch.

    Args:
        images (Tensor): Bytes (:obj:`torch.uint8`) of shape :math:`[N, C, H, W]` with one or three
            channels. Grey images are repeated to three channels when a batch is drawn.
        labels (Tensor): Classes (:obj:`torch.long`) of shape :math:`[N]`.
        mean (Tensor): Mean of each stored channel for pixels in :math:`[0, 1]`, shape :math:`[C]`.
        std (Tensor): Standard deviation of each stored channel, shape :math:`[C]`.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        size = " x ".join(str(n) for n in self.images.shape[1:])
        return f"{type(self).__name__}({len(self)} images, {size})"

    def to(self, device: torch.device | str) -> ImageSplit:
        """The same split with its bytes on another device."""
        tensors = ("images", "labels", "mean", "std")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def batch(
        self, index: Tensor, device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""The images at :obj:`index`, normalized, of shape :math:`[B, 3, H, W]`, and their labels,
        of shape :math:`[B]`, by default where the split is."""
        device = self.images.device if device is None else device
        index = index.to(self.images.device, non_blocking=True)
        # Bytes travel, floats are made on the other side: a quarter of the traffic.
        images, labels, mean, std = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.images[index], self.labels[index], self.mean, self.std)
        )
        scale = 1 / (255 * std)
        images = torch.addcmul(
            (-mean / std).view(-1, 1, 1), images.to(scale.dtype), scale.view(-1, 1, 1)
        )
        return (images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images), labels

    def batches(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Goes over all images once.

        A last batch of a single image is merged into the one before it: BatchNorm with batch
        statistics needs more than one value per channel.

        Args:
            batch_size (int): The number of images per batch.
            generator (torch.Generator, optional): Draws the order. Without it images come as they
                are stored. (default: :obj:`None`)
            device (torch.device or str, optional): Where batches are wanted, by default where the
                images are. (default: :obj:`None`)

        Raises:
            ConfigError: If :obj:`batch_size` is not positive.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be positive, got {batch_size}.")
        if generator is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
        full, rest = divmod(len(self), batch_size)
        sizes = [batch_size] * full + [rest] * (rest > 0)
        if rest == 1 and full > 0:
            sizes[-2:] = [batch_size + 1]
        parts = order.to(self.images.device).split(sizes)
        return (self.batch(part, device) for part in parts)

    def sample(
        self,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """A batch drawn at random, with replacement. All of its state is the generator's."""
        where = generator.device if generator is not None else None
        index = torch.randint(len(self), (batch_size,), generator=generator, device=where)
        return self.batch(index, device)
