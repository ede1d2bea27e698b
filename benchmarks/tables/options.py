r"""The options that all tables share, and what they stand for: images, networks, GHNs, starts."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from statistics import mode as most_common
from typing import Any, Literal

import torch
from accelerate import PartialState
from torch import nn
from torchvision import models

from pyg_ghn import from_pretrained, initialize
from pyg_ghn.architectures import torchvision_model
from pyg_ghn.architectures.splits import get_split
from pyg_ghn.checkpoint import read_metadata
from pyg_ghn.checkpoint.loading import find
from pyg_ghn.datasets.torchvision_models import PAPER_NAMES
from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.evaluation import TORCHVISION_NETWORKS, EvaluationNetwork, evaluation_networks
from pyg_ghn.images import ImageData, get_image_data
from pyg_ghn.nn import GHN
from pyg_ghn.training.finetuning import STARTS as INITIALIZERS
from pyg_ghn.training.finetuning import parse_start, start_model

DEEPNETS, PYTORCH = ("test", "wide", "deep", "dense", "bnfree"), "torchvision"
SELECTION = "selection"
STARTS = (*INITIALIZERS, SELECTION)
r"""Starts that need no GHN; the last one is weight selection."""


@dataclass
class Options:
    r"""Options of all tables.

    Args:
        checkpoints: The GHNs, ghn3-digits by default: packaged names, hub names or paths, in the
            tables by that name, or by another one as NAME=PATH. Followed by :norms or :kernels, a
            start of this part of the prediction only, by :orthogonal, of its norms with orthogonal
            kernels; beside a GHN and its norms, tables of fine-tuned networks have the better of
            both by validation images, :best.
        images: The image set, by default the one the first GHN was trained on.
        image_root: Folder of the image set.
        image_size: Height and width of the images, by default those that the first GHN was trained
            with.
        num_images: So many validation and test images at most, always the same ones, by default
            all of them (quick: 64).
        splits: Splits of networks: test, wide, deep, dense and bnfree of DeepNets-1M and
            torchvision, all of them by default.
        num_networks: Networks of each split, 16 by default; for rankings and properties, of which
            they are the samples, 60 of the split test and 30 of torchvision.
        channels: Width C of the first cells, by default the one the first GHN was trained with.
        fc_dim: Width of hidden classifier layers, by default 64 for a GHN trained here.
        seeds: Seeds of random initializations and of the order of images, 0 by default.
        protocol: Of fine-tuning. small: batches of 64, learning rates down to 1e-4, the gradient
            clipped or not, a cosine, starts calibrated by unlabelled images. paper: batches of 128,
            the paper's learning rates, no clipping, constant, starts as they are predicted.
        steps: Steps of SGD, by default 50 (small) or an epoch (paper).
        evaluate_at: Steps after which to evaluate on the way, a tenth by default.
        lrs: Other learning rates to choose from than the protocol's.
        trained: Folder of state dicts of trained networks of torchvision, NAME.safetensors, .pt or
            .pth; by default these are trained here.
        trained_steps: Steps of their training here, 200 by default.
        top_only: GHNs from which the 10 best networks of each kind are fine-tuned alone, as the
            paper does, not all networks.
        models: Networks of tables 6 to 8 and figures 6 and 8, as pyg-ghn names them, by default
            resnet18, shufflenet_v2_x0_5 and vit_mini, in table 8 resnet18.
        starts: Of table 6 besides GHNs: random, orthogonal, gradinit, nio, mimetic and selection,
            all of them by default.
        target: The image set of table 7, by default fashion_mnist for GHNs of digits, else digits.
        target_root: Folder of that image set.
        labels: Labelled images of the target in table 7.
        pretrain_steps: Steps of training on the first image set in tables 7 and 8, by default an
            epoch, but at most 200 (small).
        detection_root: Folder of Penn-Fudan or of images in its format for table 8, by default
            digits that it draws.
        detection_size: Length in pixels of the shorter side of these images as the detector sees
            them, 64 by default.
        device: Where to compute, by default a GPU where there is one.
        threads: Torch threads of each process.
        out: Folder of rows, tables and pictures, by default benchmarks/results/paper, or
            results/paper-quick.
        quick: Few networks and steps, to see that all works.
        report_only: Tables of the rows that are there.
        retry: Run again what failed before.
    """

    checkpoints: list[str] | None = None
    images: str | None = None
    image_root: str | None = None
    image_size: int | None = None
    num_images: int | None = None
    splits: list[str] | None = None
    num_networks: int | None = None
    channels: int | None = None
    fc_dim: int | None = None
    seeds: list[int] | None = None
    protocol: Literal["small", "paper"] = "small"
    steps: int | None = None
    evaluate_at: list[int] | None = None
    lrs: list[float] | None = None
    trained: str | None = None
    trained_steps: int | None = None
    top_only: list[str] | None = None
    models: list[str] | None = None
    starts: list[str] | None = None
    target: str | None = None
    target_root: str | None = None
    labels: int = 1000
    pretrain_steps: int | None = None
    detection_root: str | None = None
    detection_size: int = 64
    device: str | None = None
    threads: int = 1
    out: str | None = None
    quick: bool = False
    report_only: bool = False
    retry: bool = False

    def __post_init__(self) -> None:
        quick, self.paths, self._ghns = self.quick, {}, {}
        for given in self.checkpoints or ["ghn3-digits"]:
            label, equals, path = given.partition("=")
            path, parts = parse_start(path if equals else given)
            if len(parts) > 1:
                raise ConfigError(f"--checkpoints: instead of {given}, name its parts.")
            part = parts[0]
            if not equals:
                named = Path(path)  # runs/mlp/model.safetensors is mlp
                label = named.parent.name if named.name == "model.safetensors" else named.name
                label += given[len(path) :]
            if label in (*STARTS, "trained") or self.paths.get(label, (path, part)) != (path, part):
                raise ConfigError(f"--checkpoints: another start is {label}, say NAME={given}.")
            self.paths[label] = path, part
        if unknown := {*(self.top_only or ())} - {*self.paths}:
            raise ConfigError(f"--top_only: {', '.join(unknown)} is none of {[*self.paths]}.")
        if unknown := {*(self.starts or ())} - {*STARTS}:
            raise ConfigError(f"--starts: {', '.join(unknown)} is none of {', '.join(STARTS)}.")
        for name in ("num_images", "steps", "trained_steps", "pretrain_steps"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ConfigError(f"--{name} must be 1 or more, got {number}.")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # unknown, or not of this machine
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--device {self.device} can't be used: {reason}") from error
        self.splits = self.splits or [*(("test", "bnfree") if quick else DEEPNETS), PYTORCH]
        for split in self.splits:
            if split != PYTORCH:
                get_split(split)
        self.num_images = self.num_images or (64 if quick else None)
        self.seeds = self.seeds or [0]
        default = "results/paper-quick" if quick else Path(__file__).parents[1] / "results/paper"
        self.folder = Path(self.out or default)

    @cached_property
    def state(self) -> PartialState:
        r"""The processes of the run. They wait for one another however long the jobs take."""
        cpu = self.device == "cpu" or not torch.cuda.is_available()
        return PartialState(cpu=cpu, timeout=timedelta(days=30))

    @cached_property
    def data(self) -> ImageData:
        r"""The images, known to have as many classes as the GHNs predict."""
        name = self.images or self._trained.get("images", "digits")
        size = self.image_size or self._trained.get("image_size")
        data = get_image_data(name, self.image_root, image_size=size, num_images=self.num_images)
        for label in self.paths:
            if (classes := self.ghn(label).num_classes) != data.num_classes:
                raise ConfigError(
                    f"{label} predicts networks of {classes} classes, but the images '{name}' have "
                    f"{data.num_classes}: give other --checkpoints or --images."
                )
        return data.to(self.device or self.state.device)

    @cached_property
    def target_data(self) -> ImageData:
        r"""The images of table 7 that networks are taken to, in the size of the others.

        Raises:
            ImageDataError: If they are missing.
        """
        images, count = self.data.train.images, self.num_images
        name = self.target or {"digits": "fashion_mnist"}.get(self.data.name, "digits")
        try:
            data = get_image_data(
                name, self.target_root, image_size=images.shape[2], num_images=count
            )
        except ImageDataError as error:
            if self.target or not self.quick:
                raise ImageDataError(f"{error} Or choose another --target.") from error
            return self.data  # so that a quick run ends well in a fresh clone
        return data.to(images.device)

    @cached_property
    def _trained(self) -> dict[str, Any]:
        """How the first GHN was trained, as far as its file tells."""
        path, _ = next(iter(self.paths.values()))
        return read_metadata(path).get("training", {})

    def ghn(self, label: str) -> GHN:
        r"""A GHN, loaded once."""
        if label not in self._ghns:
            device = self.device or self.state.device
            self._ghns[label] = from_pretrained(self.paths[label][0], device).eval()
        return self._ghns[label]

    @property
    def whole_ghns(self) -> list[str]:
        r"""Labels of the GHNs all of whose predictions are taken."""
        return [label for label, (_, part) in self.paths.items() if not part]

    def describe(self) -> dict[str, Any]:
        r"""What rows on networks depend on besides their key."""
        channels, fc_dim = self.widths
        return {**self.describe_images(), "channels": channels, "fc_dim": fc_dim}

    def describe_images(self) -> dict[str, Any]:
        r"""What rows on networks of :obj:`models` depend on besides their key."""
        return {
            "images": self.data.name,
            "image_size": self.data.input_size[1],
            "classes": self.data.num_classes,
            "val_images": len(self.data.val),
            "test_images": len(self.data.test),
        }

    @cached_property
    def networks(self) -> list[EvaluationNetwork]:
        r"""The networks of all splits."""
        return [network for split in self.splits for network in self.some(split, self.count())]

    def count(self, default: int = 16, quick: int = 2) -> int:
        r"""The number of networks of a split: as many as asked for, or a default."""
        return self.num_networks or (quick if self.quick else default)

    def some(self, split: str, count: int) -> list[EvaluationNetwork]:
        r"""The first networks of a split, or all if there are less. Those of torchvision are
        adapted to the size of the images."""
        if split == PYTORCH:
            return [self.torchvision(name) for name in torchvision_names()[:count]]
        count = min(count, get_split(split).num_networks)
        return evaluation_networks(split, self.data, count, *self.widths)

    def torchvision(self, name: str) -> EvaluationNetwork:
        r"""A network of torchvision."""
        data = self.data
        build = partial(torchvision_model, name, data.num_classes, data.input_size)
        return EvaluationNetwork(PYTORCH, name, build)

    @property
    def widths(self) -> tuple[int | None, int | None]:
        r"""Width of the first cells and of hidden classifier layers, :obj:`None` for each network's
        own, which they have on ImageNet."""
        trained = self._trained.get("channels")
        channels = self.channels or (most_common(trained) if trained else None)
        return channels, self.fc_dim or (64 if channels else None)

    def start(
        self, build: Callable[[], nn.Module], start: str, seed: int, **arguments: Any
    ) -> nn.Module:
        r"""A network from a start: the label of a GHN, or one of :obj:`STARTS` but for weight
        selection, with further arguments of its function. What is random is drawn on the CPU, the
        same whatever the device, and of :obj:`seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build().to(self.data.train.images.device)
            if start not in self.paths:
                return start_model(model, start, self.data, seed, **arguments)
            ghn, arguments = self.ghn(start), {**self.paths[start][1], **arguments}
            if self.protocol == "paper":  # with the noise of its section 5.2
                arguments = {"input_size": self.data.input_size, "noise": 1e-5, **arguments}
                return initialize(model, ghn, **arguments)
            return start_model(model, ghn, self.data, seed, **arguments)

    def checksum(self, label: str) -> str:
        r"""The CRC-32 of a GHN's file: what tells it from another one of that name."""
        crc = 0
        with find(self.paths[label][0]).open("rb") as file:
            while part := file.read(1 << 24):
                crc = zlib.crc32(part, crc)
        return f"{crc:08x}"


def torchvision_names() -> list[str]:
    r"""The 74 networks of the paper: before others those of each family that suit small images, and
    the cheapest first."""

    def order(name: str) -> tuple[bool, float]:  # and billions of multiply-adds
        meta = models.get_model_weights(name).DEFAULT.meta
        return name not in TORCHVISION_NETWORKS, meta["_ops"]

    return sorted(PAPER_NAMES, key=order)
