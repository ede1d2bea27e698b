r"""Training of a few networks from every start: a row for each network, seed and start. The larger
networks that weight selection takes from have rows of their own."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path

import torch
from torch import nn
from torchvision.models import VisionTransformer

from pyg_ghn._files import atomic_path
from pyg_ghn.architectures.by_name import build_for_images
from pyg_ghn.errors import ConfigError
from pyg_ghn.images import ImageData
from pyg_ghn.initializers import select_weights
from pyg_ghn.training import finetune
from tables.choosing import choose, configs, optimizer_of, recipe
from tables.options import SELECTION, STARTS, Options
from tables.rows import Job, Results, Row, Rows

NETWORKS = ("resnet18", "shufflenet_v2_x0_5", "vit_mini")
TRANSFORMERS = {"vit_mini": (6, 4, 128, 256), "vit_small": (12, 8, 256, 512)}
r"""Layers, heads, width and hidden width of vision transformers for small images and machines."""
LARGER = dict(
    pair.split(":")
    for pair in """
    resnet18:resnet34 resnet50:resnet101 resnet101:resnet152 resnext50_32x4d:resnext101_32x8d
    wide_resnet50_2:wide_resnet101_2 densenet121:densenet161 mnasnet0_5:mnasnet1_0
    shufflenet_v2_x0_5:shufflenet_v2_x1_0 shufflenet_v2_x1_0:shufflenet_v2_x1_5
    efficientnet_b0:efficientnet_b1 convnext_tiny:convnext_small convnext_small:convnext_base
    swin_t:swin_s swin_s:swin_b swin_v2_t:swin_v2_s vit_b_32:vit_l_32 vit_b_16:vit_l_16
    vit_mini:vit_small
    """.split()
)
r"""Networks and the larger ones of their families that weight selection takes from."""

# Of GradInit as for SGD and of NIO; the paper has 100 to 2000.
ITERATIONS = {"small": {"gradinit": 100, "nio": 100}, "paper": {"gradinit": 2000, "nio": 100}}


def settings(options: Options) -> Row:
    r"""All that a row depends on.

    Raises:
        ConfigError: If an option does not make sense.
    """
    quick, protocol = options.quick, options.protocol
    iterations = dict.fromkeys(ITERATIONS[protocol], 1) if quick else ITERATIONS[protocol]
    found = {**options.describe_images(), "protocol": protocol, "iterations": iterations}
    for optimizer in ("sgd", "adamw"):
        batch_size = recipe(options, optimizer, 1)["batch_size"]
        epoch = ceil(len(options.data.train) / batch_size)
        parts, steps = (90, 90 * epoch) if protocol == "paper" else (10, 100)
        found[optimizer] = recipe(options, optimizer, steps)
        steps = found[optimizer]["steps"]
        tenths = sorted({max(1, steps * i // parts) for i in range(1, parts)})
        found[optimizer]["evaluate_at"] = options.evaluate_at or tenths
        if not all(0 < step <= steps for step in found[optimizer]["evaluate_at"]):
            raise ConfigError(f"--evaluate_at must be from 1 to {steps} steps.")
    return found


def names(options: Options) -> Sequence[str]:
    r"""The networks, by name.

    Raises:
        GHNError: If one is unknown or can't be built for these images.
    """
    for name in options.models or ():
        build(name, options.data)
    return options.models or (NETWORKS[1:] if options.quick else NETWORKS)


def build(name: str, data: ImageData, side: int | None = None) -> nn.Module:
    r"""A network with its own random initialization, for images of this or another size."""
    side = side or data.input_size[1]
    if name not in TRANSFORMERS:
        return build_for_images(name, data.num_classes, (3, side, side))
    patch = max(1, min(side // 4, 4))
    return VisionTransformer(side, patch, *TRANSFORMERS[name], num_classes=data.num_classes)


def larger_jobs(options: Options) -> Iterator[Job]:
    if SELECTION in (options.starts or STARTS):
        for name in names(options):
            if name in LARGER:
                yield {"larger": LARGER[name]}, partial(train_larger, options, LARGER[name])


def train_larger(options: Options, name: str) -> Row:
    r"""Trains a larger network and keeps its weights beside the rows."""
    data, seed, began = options.data, options.seeds[0], time.perf_counter()
    model = options.start(partial(build, name, data), "random", seed)
    optimizer = optimizer_of(model)
    _, config, _ = choose([model], configs(settings(options)[optimizer], optimizer, seed), data)
    result = finetune(model, data, replace(config, evaluate_at=None))
    with atomic_path(_weights(options, name)) as path:
        torch.save(model.state_dict(), path)
    return {"test": result.test, "lr": config.lr, "seconds": time.perf_counter() - began}


def _weights(options: Options, name: str) -> Path:
    return options.folder / f"larger-{name}.pt"


def jobs(options: Options, larger: Results) -> Iterator[Job]:
    for name in names(options):
        for seed in options.seeds:
            for start in (*(options.starts or STARTS), *options.paths):
                key = {"network": name, "seed": seed, "start": start}
                yield key, partial(train, options, name, seed, start)


def train(options: Options, name: str, seed: int, start: str) -> Row:
    r"""A network trained with the better settings of a start."""
    data, given, larger = options.data, settings(options), LARGER.get(name)
    if start == SELECTION and larger is None:
        return {"not_applicable": f"no larger network of the family of {name} is known"}
    if start == SELECTION and not _weights(options, larger).exists():
        train_larger(options, larger)
    arguments = {"noise": 1e-5} if start in options.paths else {}
    if start in given["iterations"]:
        arguments = {"iterations": given["iterations"][start]}
    began = time.perf_counter()
    first = "random" if start == SELECTION else start
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*no self-attention layer")
            model = options.start(partial(build, name, data), first, seed, **arguments)
    except UserWarning as warning:
        return {"not_applicable": str(warning)}
    if start == SELECTION:
        trained = build(larger, data)
        path = _weights(options, larger)
        trained.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        select_weights(model, trained)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds, optimizer = time.perf_counter() - began, optimizer_of(model)
    _, config, tried = choose([model], configs(given[optimizer], optimizer, seed), data)
    result = finetune(model, data, config)
    return {
        "optimizer": optimizer,
        "init_seconds": seconds,
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "tried": tried,
        "curve": result.curve,
        "seconds": result.seconds,
    }


LARGEST = Rows("larger", ("larger",), settings, larger_jobs)
TRAINING = Rows("training", ("network", "seed", "start"), settings, jobs, (LARGEST,))


def curves(trained: Results) -> dict[str, dict[str, list[list[Row]]]]:
    r"""What was measured after each step of each run, by network and start. A run that diverged
    stays where it was."""
    found: dict[str, dict[str, list[list[Row]]]] = defaultdict(lambda: defaultdict(list))
    for row in trained.rows:
        if "curve" in row:
            given, last = trained.settings[row["optimizer"]], row["curve"][-1]
            stops = sorted({*given["evaluate_at"], given["steps"]})
            rest = [{**last, "step": stop} for stop in stops if stop > last["step"]]
            found[row["network"]][row["start"]].append(row["curve"] + rest)
    return found
