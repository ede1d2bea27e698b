r"""Table 8: detection by Faster R-CNN with FPN on backbones from each start, without and with
training on the GHN's images first."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache, partial
from math import cos, pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator

from pyg_ghn.calibration import calibrate
from pyg_ghn.errors import ConfigError
from tables.options import Options
from tables.output import Table
from tables.rows import Job, Results, Row, Rows
from tables.scenes import Scene, average_precision, draw_scenes, read_scenes
from tables.table7 import by_pretraining
from tables.training import build
from tables.transfer import pretraining, source_model, with_body_of

LRS, STEPS = [0.02, 0.005], 200
FIXED = {"batch_size": 4, "weight_decay": 5e-4, "clip": 5.0}
SHARES = (10, 2)  # of 17 images to train on and to choose by; the rest are test images


def settings(options: Options) -> Row:
    root, size, quick = options.detection_root, options.detection_size, options.quick
    if size < 32:
        raise ConfigError(f"--detection_size must be 32 or more, got {size}.")
    return {
        **{**options.describe_images(), **pretraining(options), **FIXED},
        **{"scenes": Path(root).resolve().name if root else "drawn digits", "detection_size": size},
        **{f"scenes_{name}": len(part) for name, part in splits(root, size, quick).items()},
        **{"lrs": options.lrs or LRS[: 1 if quick else None]},
        **{"steps": options.steps or (2 if quick else STEPS)},
    }


@cache
def splits(root: str | None, size: int, quick: bool) -> dict[str, list[Scene]]:
    r"""The images to train on, to choose by and to test on, always the same."""
    if root is None:
        with tempfile.TemporaryDirectory() as folder:
            draw_scenes(Path(folder), 17 if quick else 170, size)
            scenes = read_scenes(Path(folder))
    else:
        scenes = read_scenes(Path(root))
    order = torch.randperm(len(scenes), generator=torch.Generator().manual_seed(0)).tolist()
    ends = [len(scenes) * sum(SHARES[:n]) // 17 for n in (1, 2)]
    parts = (order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :])
    names = ("train", "val", "test")
    return {name: [scenes[i] for i in part] for name, part in zip(names, parts, strict=True)}


def jobs(options: Options) -> Iterator[Job]:
    for name in options.models or ("resnet18",):
        for seed in options.seeds:
            for pretrained in (False, True):
                for start in ("random", *options.paths):
                    key = {"network": name, "seed": seed, "start": start, "pretrained": pretrained}
                    yield key, partial(detect, options, name, seed, start, pretrained)


def detect(options: Options, name: str, seed: int, start: str, pretrained: bool) -> Row:
    r"""A detector trained with the better learning rate by validation images."""
    given, size, tried = settings(options), options.detection_size, []
    parts = splits(options.detection_root, size, options.quick)
    fresh = options.start(partial(build, name, options.data, size), "random", seed)
    if not isinstance(fresh, ResNet):
        raise ConfigError(f"Table 8 has backbones of torchvision's ResNets, {name} is none.")
    source = source_model(options, name, seed, start, pretrained)
    for lr in given["lrs"]:
        body = with_body_of(source, copy.deepcopy(fresh), (3, size, size))
        model = train(body, parts["train"], given, lr, seed)
        tried.append([lr, *(evaluate(model, parts[which]) for which in ("val", "test"))])
    lr, val, test = max(tried, key=lambda row: row[1])
    return {"lr": lr, "val": val, "ap": test, "tried": tried}


def train(
    body: ResNet, scenes: Sequence[Scene], given: Row, lr: float, seed: int
) -> FasterRCNN | None:
    r"""Trains a detector on a backbone with the parameters it has. One that diverges is none."""
    size, device = given["detection_size"], next(body.parameters()).device
    width = 64 if size < 128 else 256  # torchvision's, which takes minutes a step without a GPU
    pixels = torch.cat([image.flatten(1) for image, _ in scenes], dim=1) / 255
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = FasterRCNN(
            BackboneWithFPN(
                body,
                {f"layer{i + 1}": str(i) for i in range(4)},
                [body.inplanes // 8 * 2**i for i in range(4)],
                width,
            ),
            min_size=size,
            max_size=5 * size // 3,
            image_mean=pixels.mean(1).tolist(),
            image_std=pixels.std(1).tolist(),
            rpn_anchor_generator=AnchorGenerator(
                tuple((size * share,) for share in (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)),
                ((0.5, 1.0, 2.0),) * 5,
            ),
            rpn_post_nms_top_n_train=8 * width,
            rpn_post_nms_top_n_test=4 * width,
            rpn_batch_size_per_image=width,
            box_batch_size_per_image=2 * width,
            box_head=TwoMLPHead(49 * width, 4 * width),
            box_predictor=FastRCNNPredictor(4 * width, 2),
        ).to(device)
        params = [*model.parameters()]
        optimizer = torch.optim.SGD(params, lr, momentum=0.9, weight_decay=given["weight_decay"])
        for step in range(given["steps"]):
            optimizer.param_groups[0]["lr"] = lr * (1 + cos(pi * step / given["steps"])) / 2
            batch = [
                flipped(*scenes[i]) if flip else scenes[i]
                for i, flip in zip(
                    torch.randint(len(scenes), (given["batch_size"],)).tolist(),
                    (torch.rand(given["batch_size"]) < 0.5).tolist(),
                    strict=True,
                )
            ]
            targets = [
                {"boxes": boxes.to(device), "labels": torch.ones(len(boxes), dtype=torch.long)}
                for _, boxes in batch
            ]
            losses = model([image.to(device) / 255 for image, _ in batch], targets)
            loss = torch.stack([*losses.values()]).sum()
            if not loss.isfinite():
                return None
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(params, given["clip"])
            optimizer.step()
    images, _ = model.transform([image.to(device) / 255 for image, _ in scenes[:32]])
    calibrate(model.backbone, images.tensors)  # running statistics of a few steps lag behind
    return model.eval()


@torch.no_grad()
def evaluate(model: FasterRCNN | None, scenes: Sequence[Scene]) -> float:
    r"""The average precision at IoU 0.5."""
    if model is None:
        return 0.0
    device = next(model.parameters()).device
    found = [model([image.to(device) / 255])[0] for image, _ in scenes]
    boxes = [(one["boxes"].cpu(), one["scores"].cpu()) for one in found]
    return average_precision(boxes, [boxes for _, boxes in scenes])


def flipped(image: Tensor, boxes: Tensor) -> Scene:
    r"""An image mirrored left to right."""
    width = image.size(2)
    left, top, right, bottom = boxes.unbind(1)
    return image.flip(2), torch.stack([width - right, top, width - left, bottom], dim=1)


ROWS = (Rows("detection", ("network", "seed", "start", "pretrained"), settings, jobs),)


def report(detected: Results) -> list[Table]:
    given = detected.settings
    note = (
        f"Mean and standard deviation over seeds, after {given['steps']} steps with the better "
        f"learning rate by validation images. COCO's average precision, at 101 recalls."
    )
    title = f"Average precision at IoU 0.5 (%), {given['scenes']}, pretraining on {given['images']}"
    return [by_pretraining(title, detected, "ap", [note])]
