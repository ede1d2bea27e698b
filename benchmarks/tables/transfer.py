r"""Networks taken to other images: from a start, perhaps trained on the GHN's images, then trained
with few labels of other images. A row for each network, seed and start, with and without that first
training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import ceil

import torch
from torch import Tensor, nn

from pyg_ghn.errors import ConfigError
from pyg_ghn.graph import from_module
from pyg_ghn.initialization import last_layer
from pyg_ghn.training import finetune, search
from tables.choosing import choose, configs, optimizer_of, recipe, subset, without_test
from tables.options import Options
from tables.rows import Job, Row, Rows
from tables.training import build, names

STARTS = ("random", "orthogonal")
NOISES = (1e-5, 1e-2)
r"""Sizes of noise on predicted parameters to choose from. The first is that before pretraining."""
WEIGHT_DECAYS = {"sgd": [3e-5, 1e-2], "adamw": [0.01, 0.1]}


def settings(options: Options) -> Row:
    r"""All that a row depends on.

    Raises:
        ConfigError: If an option does not make sense.
        ImageDataError: If the target is missing.
    """
    images, found = options.target_data, {**options.describe_images(), **pretraining(options)}
    if not 2 * images.num_classes <= options.labels <= len(images.train):
        raise ConfigError(
            f"--labels must be from {2 * images.num_classes} to {len(images.train)}, of "
            f"{images.name}, got {options.labels}."
        )
    found |= {"target": images.name, "target_classes": images.num_classes}
    found |= {"labels": options.labels, "noises": NOISES[: 1 if options.quick else None]}
    for optimizer, decays in WEIGHT_DECAYS.items():
        found[optimizer] = recipe(options, optimizer, 100, weight_decays=decays)
    return found


def pretraining(options: Options) -> Row:
    r"""How networks are trained on the GHN's images before they are taken elsewhere."""
    epoch = ceil(len(options.data.train) / recipe(options, "sgd", 1)["batch_size"])
    steps = 2 if options.quick else epoch if options.protocol == "paper" else min(epoch, 200)
    return {"protocol": options.protocol, "pretrain_steps": options.pretrain_steps or steps}


def jobs(options: Options) -> Iterator[Job]:
    for name in names(options):
        for seed in options.seeds:
            for pretrained in (False, True):
                for start in (*STARTS, *options.paths):
                    key = {"network": name, "seed": seed, "start": start, "pretrained": pretrained}
                    yield key, partial(transfer, options, name, seed, start, pretrained)


def transfer(options: Options, name: str, seed: int, start: str, pretrained: bool) -> Row:
    r"""A network trained with few labels, with the noise, learning rate and weight decay that are
    best on a fifth of them, which are trained on only then."""
    given, images = settings(options), options.target_data
    predicted = start in options.paths and not pretrained
    noises = given["noises"] if predicted else given["noises"][:1]
    models = []
    for noise in noises:
        source = source_model(options, name, seed, start, pretrained, noise)
        fresh = options.start(partial(build, name, images), "random", seed)
        models.append(with_body_of(source, fresh, images.input_size))
    train, chosen = images.train, few_labels(images.train.labels, options.labels, seed)
    kept, held_out = chosen.tensor_split([4 * len(chosen) // 5])
    labelled = replace(images, train=subset(train, kept), val=subset(train, held_out))
    optimizer = optimizer_of(models[0])
    i, config, tried = choose(models, configs(given[optimizer], optimizer, seed), labelled)
    result = finetune(models[i], replace(labelled, train=subset(train, chosen)), config)
    return {
        "noise": noises[i] if start in options.paths else None,
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "tried": tried,
        "test": result.test,
        "seconds": result.seconds,
    }


def source_model(
    options: Options, name: str, seed: int, start: str, pretrained: bool, noise: float = NOISES[0]
) -> nn.Module:
    r"""A network for the GHN's images from a start, and trained on them if wanted."""
    data, arguments = options.data, {"noise": noise} if start in options.paths else {}
    model = options.start(partial(build, name, data), start, seed, **arguments)
    if pretrained:
        optimizer = optimizer_of(model)
        given = recipe(options, optimizer, 1) | {"steps": pretraining(options)["pretrain_steps"]}
        config, *_ = configs(given, optimizer, seed)
        _, model, _ = search(model, without_test(data), config, given["lrs"], [config.clip])
    return model


def with_body_of(
    source: nn.Module, model: nn.Module, input_size: tuple[int, int, int]
) -> nn.Module:
    r"""A model with all parameters and buffers of another one but those of its last layer."""
    own = last_layer(from_module(model, input_size=input_size))
    state = {name: value for name, value in source.state_dict().items() if name not in own}
    model.load_state_dict(state, strict=False)
    return model


def few_labels(labels: Tensor, count: int, seed: int) -> Tensor:
    r"""Indices of images, of each class as many as of others or as there are, the classes by
    turns."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    turns = torch.empty_like(shuffled)
    for label in shuffled.unique():
        turns[shuffled == label] = torch.arange(int((shuffled == label).sum()))
    return order[turns.argsort(stable=True)[:count]]


TRANSFER = Rows("transfer", ("network", "seed", "start", "pretrained"), settings, jobs)
