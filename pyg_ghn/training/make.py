r"""The GHN that a run trains."""

import math
import os
from typing import Any

import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import GHN, GHN2, GHN3
from pyg_ghn.nn.ghn2 import GHNMLP
from pyg_ghn.training.config import TrainConfig

MODELS: dict[str, type[GHN]] = {"ghn3": GHN3, "ghn2": GHN2, "mlp": GHNMLP}
_GHN3_OPTIONS = ("num_layers", "heads", "edge_bias", "centrality", "input_distance")
_STRUCTURE = ("hidden_channels", "max_shape", *_GHN3_OPTIONS)


def make_ghn(
    config: TrainConfig, num_classes: int, device: torch.device, given: GHN | None = None
) -> GHN:
    """Makes the GHN of a configuration, which must fit the device's memory, or takes the one
    given."""
    if given is not None:
        if config.init is not None or given.num_classes != num_classes:
            raise ConfigError(
                f"A GHN to train was given, for {given.num_classes} classes: leave out `init`, "
                f"which is {config.init!r}, and use images of as many classes, not {num_classes}."
            )
        return given
    if config.init is not None:
        given = from_pretrained(config.init)
        if given.num_classes == num_classes:
            return given
        # What predicts last layers is made anew.
        other = type(given)(**{**given.config, "num_classes": num_classes})
        shapes = {name: param.shape for name, param in other.state_dict().items()}
        kept = {n: param for n, param in given.state_dict().items() if param.shape == shapes[n]}
        other.load_state_dict(kept, strict=False)
        return other
    options: dict[str, Any] = {
        "hidden_channels": config.hidden_channels,
        "max_shape": tuple(config.max_shape),
        "num_classes": num_classes,
    }
    if config.model == "ghn3":
        options |= {name: getattr(config, name) for name in _GHN3_OPTIONS}
    _check_memory(config.model, options, device)
    return MODELS[config.model](**options)


def options_of(ghn: GHN) -> dict[str, Any]:
    """The options that describe a GHN of this package as it is; none for another class."""
    kinds = {cls: name for name, cls in MODELS.items()}
    if type(ghn) not in kinds:
        return {}
    own = {name: value for name, value in ghn.config.items() if name in _STRUCTURE}
    return {"model": kinds[type(ghn)], **own}


def _check_memory(model: str, options: dict[str, Any], device: torch.device) -> None:
    """Refuses a GHN of which not even weights, gradients and the optimizer's moments fit."""
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf"):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    try:
        with torch.device("meta"):
            needed = 16 * sum(param.numel() for param in MODELS[model](**options).parameters())
    except RuntimeError:  # more numbers than can be counted
        needed = math.inf
    if needed > there:
        raise ConfigError(
            f"Training a {model} of {options} takes {needed / 2**30:,.0f} GiB for its parameters "
            f"alone, and there are {there / 2**30:,.0f}: choose smaller hidden_channels, "
            "num_layers or max_shape."
        )
