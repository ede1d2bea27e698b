r"""Accuracy of a network with given parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyg_ghn.calibration import batch_statistics
from pyg_ghn.images import ImageSplit

ORDER_SEED = 0
r"""Seed of the one order in which images are evaluated: batch statistics depend on it, and images
sorted by class would have those of single classes."""


@torch.no_grad()
def accuracy(
    model: nn.Module,
    params: Mapping[str, Tensor] | None,
    split: ImageSplit,
    batch_size: int = 64,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    r"""Classifies all images of a split with the batch statistics of BatchNorm and without dropout,
    as the networks of `"Parameter Prediction for Unseen Deep Architectures"
    <https://arxiv.org/abs/2110.13100>`_ are evaluated (section 5). The order of the images is
    always the same.

    Args:
        model (torch.nn.Module): The network. It is not changed.
        params (dict, optional): Tensors that stand in for the parameters of these names. Others are
            the model's own.
        split (ImageSplit): The images.
        batch_size (int, optional): The number of images per batch. (default: :obj:`64`)
        device (torch.device or str, optional): Where to compute, by default where the parameters
            are. (default: :obj:`None`)

    Returns:
        dict: :obj:`top1` and :obj:`top5`, shares of the images whose class is (among the five) most
        likely, and :obj:`non_finite`, the share with logits that are infinite or no numbers. Those
        count as wrong.
    """
    params = dict(params or {})
    if device is None:
        device = next(iter([*params.values(), *model.parameters()])).device
    generator = torch.Generator().manual_seed(ORDER_SEED)
    hits = torch.zeros(3, dtype=torch.long, device=device)
    with batch_statistics(model):
        for images, labels in split.batches(batch_size, generator, device):
            logits = functional_call(model, params, (images,))
            finite = logits.isfinite().all(dim=1)
            right = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            right &= finite[:, None]
            hits += torch.stack([right[:, 0].sum(), right.sum(), finite.sum()])
    top1, top5, finite = (hits.double() / len(split)).tolist()
    return {"top1": top1, "top5": top5, "non_finite": 1 - finite}
