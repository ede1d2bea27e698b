r"""Images in memory and the random or ordered batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyg_ghn.errors import ImageDataError


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
        drop_last: bool = False,
    ) -> ImageBatches:
        """Every image once, see :class:`ImageBatches`."""
        return ImageBatches(self, batch_size, generator, device, drop_last)

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


class ImageBatches:
    r"""Goes over all images of a split once per iteration, in batches.

    A last batch of a single image is merged into the one before it: BatchNorm with batch statistics
    needs more than one value per channel. :meth:`state_dict` tells the place within the iteration
    under way, and the next iteration after :meth:`load_state_dict` continues there.

    Args:
        split (ImageSplit): The images.
        batch_size (int): The number of images per batch.
        generator (torch.Generator, optional): Draws a new order for every iteration. Without it
            images come as they are stored. (default: :obj:`None`)
        device (torch.device or str, optional): Where batches are wanted, by default where the
            images are. (default: :obj:`None`)
        drop_last (bool, optional): If set to :obj:`True`, leaves out a last batch that is not full.
            (default: :obj:`False`)

    Raises:
        ImageDataError: If :obj:`batch_size` is not positive.
    """

    def __init__(
        self,
        split: ImageSplit,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ImageDataError(f"batch_size must be positive, got {batch_size}.")
        self.split = split
        self.batch_size = batch_size
        self.generator = generator
        self.device = device
        self._bounds = _batch_bounds(len(split), batch_size, drop_last)
        self._position = 0  # batches taken from the iteration under way
        self._resume_at = 0
        self._order_state: Tensor | None = None  # what the order under way was drawn from

    def __len__(self) -> int:
        """The number of batches of one iteration."""
        return len(self._bounds)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._position, self._resume_at = self._resume_at, 0
        order = self._draw_order()
        for start, end in self._bounds[self._position :]:
            self._position += 1
            yield self.split.batch(order[start:end], self.device)
        self._position = 0

    def state_dict(self) -> dict[str, Any]:
        """The place in the iteration under way; to be saved beside the model."""
        state = self._order_state if self._position else self._generator_state()
        return {"position": self._position, "generator": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration yields what the saved one had not yielded yet."""
        self._position = self._resume_at = state["position"]
        self._order_state = state["generator"]
        if self.generator is not None and state["generator"] is not None:
            self.generator.set_state(state["generator"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.split!r}, batch_size={self.batch_size})"

    def _draw_order(self) -> Tensor:
        self._order_state = self._generator_state()
        if self.generator is None:
            return torch.arange(len(self.split), device=self.split.images.device)
        order = torch.randperm(
            len(self.split), generator=self.generator, device=self.generator.device
        )
        return order.to(self.split.images.device)

    def _generator_state(self) -> Tensor | None:
        return None if self.generator is None else self.generator.get_state()


def _batch_bounds(count: int, batch_size: int, drop_last: bool) -> list[tuple[int, int]]:
    starts = list(range(0, count, batch_size))
    rest = count % batch_size
    if (drop_last and rest > 0) or (rest == 1 and len(starts) > 1):
        starts.pop()
    ends = [*starts[1:], len(starts) * batch_size if drop_last else count]
    return list(zip(starts, ends, strict=False))
