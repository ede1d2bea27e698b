r"""How single networks are trained, with settings chosen by validation images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from torch import Tensor, nn

from pyg_ghn.images import ImageData, ImageSplit
from pyg_ghn.images.source import take
from pyg_ghn.training import FinetuneConfig, finetune
from tables.options import Options
from tables.rows import Row

RECIPES = {
    "small": {
        "both": {"batch_size": 64, "schedule": "cosine", "clip": 1.0},
        "sgd": {"lrs": [0.1, 0.02, 0.004], "weight_decays": [3e-5]},
        "adamw": {"lrs": [1e-3, 3e-4], "weight_decays": [0.01]},
    },
    "paper": {
        "both": {"batch_size": 128, "schedule": "cosine", "clip": None, "flip": True},
        "sgd": {"lrs": [0.1, 0.025, 0.01], "weight_decays": [1e-4], "schedule": "step"},
        "adamw": {"lrs": [1e-3, 6e-4, 3e-4], "weight_decays": [0.01, 0.05], "batch_size": 512},
    },
}
r"""How networks without LayerNorm (SGD) and with it (AdamW) are trained."""


def recipe(options: Options, optimizer: str, steps: int, **changes: Any) -> Row:
    r"""How networks are trained, as the options have it, by default for some steps.

    Raises:
        ConfigError: If an option does not make sense.
    """
    found = {**RECIPES[options.protocol]["both"], **RECIPES[options.protocol][optimizer], **changes}
    if options.quick:
        found |= {name: found[name][:1] for name in ("lrs", "weight_decays")}
    found["lrs"] = options.lrs or found["lrs"]
    found["steps"] = options.steps or (2 if options.quick else steps)
    configs(found, optimizer)
    return found


def configs(recipe: Row, optimizer: str, seed: int = 0) -> list[FinetuneConfig]:
    r"""The configurations to choose from: all :obj:`lrs` and :obj:`weight_decays` of a recipe."""
    given = {name: recipe[name] for name in recipe if name not in ("lrs", "weight_decays")}
    return [
        FinetuneConfig(optimizer=optimizer, lr=lr, weight_decay=decay, seed=seed, **given)
        for lr, decay in product(recipe["lrs"], recipe["weight_decays"])
    ]


def optimizer_of(model: nn.Module) -> str:
    r"""AdamW for networks with LayerNorm, such as transformers and ConvNeXt, SGD for others."""
    return "adamw" if any(isinstance(m, nn.LayerNorm) for m in model.modules()) else "sgd"


def choose(
    models: Sequence[nn.Module], configs: Sequence[FinetuneConfig], data: ImageData
) -> tuple[int, FinetuneConfig, list[list]]:
    r"""The start and configuration with the best accuracy on validation images after training. Test
    images play no part, and the models are only copied.

    Returns:
        The number of the start and the configuration; for all that were tried the number, learning
        rate, weight decay and accuracy.
    """
    pairs, tried = [*product(range(len(models)), configs)], []
    blind = without_test(data)
    for i, config in pairs if len(pairs) > 1 else ():
        result = finetune(copy.deepcopy(models[i]), blind, replace(config, evaluate_at=None))
        tried.append([i, config.lr, config.weight_decay, result.val])
    best = max(range(len(tried)), key=lambda n: tried[n][-1], default=0)
    return *pairs[best], tried


def without_test(data: ImageData) -> ImageData:
    r"""The images, with a few of the validation images in the place of test images."""
    return replace(data, test=data.val.subset(64))


def subset(split: ImageSplit, index: Tensor) -> ImageSplit:
    r"""Some images of a split."""
    index = index.to(split.labels.device)
    return replace(split, images=take(split.images, index), labels=split.labels[index])
