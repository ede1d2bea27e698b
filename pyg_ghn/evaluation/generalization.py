r"""How well predicted parameters work on networks that the GHN has never seen."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from tqdm.auto import tqdm

from pyg_ghn._version import versions
from pyg_ghn.architectures import SPLITS, network_from_args, split_net_args, torchvision_model
from pyg_ghn.calibration import CALIBRATION_IMAGES, batch_statistics, missing_norms, predict_folded
from pyg_ghn.errors import ArchitectureError, ConfigError, PredictionError
from pyg_ghn.evaluation.result import FAMILIES, GeneralizationResult, NetworkResult
from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.images import ImageData, ImageSplit
from pyg_ghn.nn import GHN

TORCHVISION_NETWORKS = tuple(
    """
    resnet18 resnet50 resnext50_32x4d densenet121 googlenet squeezenet1_1 mobilenet_v2
    mobilenet_v3_small mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 regnet_x_400mf regnet_y_400mf
    convnext_tiny
    """.split()
)
r"""One or two networks of each family, of those that suit small images."""

TORCHVISION = "torchvision"

DEFAULT_SPLITS = ("val", "test", "wide", "deep", "dense", "bnfree", "torchvision")
IMAGE_SPLITS = ("test", "val")

# Of the one order in which images are evaluated: batch statistics depend on it, and images sorted
# by class would have those of single classes.
ORDER_SEED = 0


def evaluate_ghn(
    ghn: GHN,
    images: ImageData,
    splits: Sequence[str] = DEFAULT_SPLITS,
    num_networks: int | None = None,
    seed: int = 0,
    image_split: str = "test",
    channels: int | None = 32,
    fc_dim: int | None = 64,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> GeneralizationResult:
    r"""Predicts the parameters of every network and classifies images with them, without any
    training of the network, as in Table 11 of the `"Can We Scale Transformers to Predict Parameters
    of Diverse ImageNet Models?" <https://arxiv.org/abs/2303.04143>`_ paper. Beside it stands the
    same network with its own random initialization (RandInit), and with predicted parameters that
    unlabelled training images have calibrated (:func:`~pyg_ghn.calibration.predict_folded`), which
    changes networks with parts that nothing normalizes.

    Args:
        ghn (GHN): The graph hypernetwork.
        images (ImageData): The images.
        splits (sequence, optional): Splits of DeepNets-1M, and :obj:`"torchvision"` for
            torchvision's networks, adapted to small images. (default: :obj:`DEFAULT_SPLITS`)
        num_networks (int, optional): Only so many networks of each split. (default: :obj:`None`)
        seed (int, optional): Seed of random initializations. Each network has its own, whatever
            else is evaluated. (default: :obj:`0`)
        image_split (str, optional): Which images, :obj:`"test"` or :obj:`"val"`.
            (default: :obj:`"test"`)
        channels (int, optional): The number of first channels of DeepNets-1M networks, four times
            as many in the wide split; :obj:`None` for each network's own. (default: :obj:`32`)
        fc_dim (int, optional): Size of the hidden layers of their classifiers, :obj:`None` for each
            network's own. (default: :obj:`64`)
        batch_size (int, optional): The number of images per batch. (default: :obj:`64`)
        device (torch.device or str, optional): Where networks are run. (default: the GHN's)
        progress (bool, optional): If set to :obj:`False`, shows no progress bar.
            (default: :obj:`True`)

    Raises:
        ArchitectureError: If a split is unknown.
        ConfigError: If there is nothing to evaluate, the GHN is for another number of classes, or
            :obj:`image_split` is neither of the two.
    """
    if ghn.num_classes != images.num_classes:
        raise ConfigError(
            f"The GHN predicts networks of {ghn.num_classes} classes, but the images "
            f"'{images.name}' have {images.num_classes}: train a GHN on them."
        )
    if image_split not in IMAGE_SPLITS:
        raise ConfigError(
            f"No images {image_split!r} to evaluate on; choose from {', '.join(IMAGE_SPLITS)}."
        )
    device = next(ghn.parameters()).device if device is None else torch.device(device)
    part = getattr(images, image_split).to(device)
    networks = [
        network
        for split in splits
        for network in evaluation_networks(split, images, num_networks, channels, fc_dim)
    ]
    if not networks:
        raise ConfigError("There is nothing to evaluate: give at least one split.")
    generator = torch.Generator().manual_seed(seed)
    unlabelled, _ = images.train.sample(CALIBRATION_IMAGES, generator, device)
    found, was_training = [], ghn.training
    ghn.eval()
    try:
        with tqdm(networks, unit="net", disable=not progress) as bar:
            for network in bar:
                bar.set_description(network.split)
                found.append(evaluate_network(ghn, network, unlabelled, part, seed, batch_size))
    finally:
        ghn.train(was_training)
    return GeneralizationResult(
        networks=found,
        ghn=type(ghn).__name__,
        config=dict(ghn.config),
        images=images.name,
        image_split=image_split,
        num_images=len(part),
        num_classes=images.num_classes,
        settings={
            "seed": seed,
            "num_networks": num_networks,
            "channels": channels,
            "fc_dim": fc_dim,
            "batch_size": batch_size,
            "device": str(device),
        },
        versions=versions(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def evaluate_network(
    ghn: GHN,
    network: EvaluationNetwork,
    unlabelled: Tensor,
    images: ImageSplit,
    seed: int = 0,
    batch_size: int = 64,
) -> NetworkResult:
    r"""What :func:`evaluate_ghn` finds on one network.

    Args:
        ghn (GHN): The graph hypernetwork, in evaluation mode.
        network (EvaluationNetwork): The network.
        unlabelled (Tensor): The training images that calibrate, :math:`[B, C, H, W]`.
        images (ImageSplit): The images to classify; where they are, the network is run.
        seed (int, optional): See :func:`evaluate_ghn`. (default: :obj:`0`)
        batch_size (int, optional): The number of images per batch. (default: :obj:`64`)
    """
    start = time.perf_counter()
    key = (seed, zlib.crc32(f"{network.split}/{network.name}".encode()))
    # Initializations are drawn on the CPU: the same ones whatever the device.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        model = network.build().eval()
        data = from_module(model, input_size=tuple(unlabelled.shape[1:]))
        params = ghn.predict_graph(data)
    device = images.images.device
    model.to(device)
    params = {name: param.to(device) for name, param in params.items()}
    predicted = calibrated = accuracy(model, params, images, batch_size)
    if missing_norms(model, data, tuple(unlabelled.shape[1:])):
        with suppress(PredictionError):  # values that are not finite: nothing is won
            folded = predict_folded(ghn, model, unlabelled)
            folded = {name: param.to(device) for name, param in folded.items()}
            calibrated = accuracy(model, folded, images, batch_size)
    random = accuracy(model, None, images, batch_size)
    nodes = {PRIMITIVES[i] for i in data.x.flatten().tolist()}
    sizes = {name: param.numel() for name, param in model.named_parameters()}
    return NetworkResult(
        split=network.split,
        name=network.name,
        families=tuple(name for name, belongs in FAMILIES.items() if belongs(nodes)),
        num_params=sum(sizes.values()),
        predicted_share=sum(sizes[name] for name in params) / sum(sizes.values()),
        accuracy=predicted["top1"],
        accuracy_top5=predicted["top5"],
        calibrated=calibrated["top1"],
        random=random["top1"],
        random_top5=random["top5"],
        non_finite=predicted["non_finite"],
        seconds=time.perf_counter() - start,
    )


class EvaluationNetwork(NamedTuple):
    r"""A network to be built, with its own random initialization."""

    split: str
    name: str
    build: Callable[[], nn.Module]


def evaluation_networks(
    split: str,
    images: ImageData,
    num_networks: int | None = None,
    channels: int | None = None,
    fc_dim: int | None = None,
) -> list[EvaluationNetwork]:
    r"""The first networks, or all, of a split of DeepNets-1M or of :obj:`TORCHVISION_NETWORKS`, the
    split :obj:`"torchvision"`, for images of this size and number of classes. For :obj:`channels`
    and :obj:`fc_dim` see :func:`evaluate_ghn`."""
    size, classes = images.input_size, images.num_classes
    if num_networks is not None and num_networks < 1:
        raise ArchitectureError(f"num_networks must be 1 or more, got {num_networks}.")
    if split == TORCHVISION:
        return [
            EvaluationNetwork(split, name, partial(torchvision_model, name, classes, size))
            for name in TORCHVISION_NETWORKS[:num_networks]
        ]
    if split not in SPLITS:
        raise ArchitectureError(
            f"Unknown split {split!r}; choose from {', '.join(SPLITS)}, {TORCHVISION}."
        )
    networks = []
    for i, net_args in enumerate(split_net_args(split, num_networks)):
        width = SPLITS[split].widened(net_args["C"] if channels is None else channels, size)
        build = partial(network_from_args, net_args, classes, size, C=width, fc_dim=fc_dim)
        networks.append(EvaluationNetwork(split, str(i), build))
    return networks


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
