r"""What a model is run on."""

from __future__ import annotations

from contextlib import suppress
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from pyg_ghn.errors import GraphError
from pyg_ghn.graph.trace import Trace, trace

# Inception networks in train mode are the ones that need the larger one.
DEFAULT_INPUT_SIZES = ((3, 224, 224), (3, 299, 299))


def record(
    model: nn.Module, input_size: tuple[int, ...] | None = None, example_inputs: Any = None
) -> Trace:
    r"""Records a model's forward pass, see
    :func:`~pyg_ghn.graph.from_module` for the arguments."""
    if example_inputs is not None:
        if input_size is not None:
            raise GraphError("Pass either input_size or example_inputs, not both.")
        if isinstance(example_inputs, dict):
            return trace(model, (), example_inputs)
        several = isinstance(example_inputs, (tuple, list))
        return trace(model, tuple(example_inputs) if several else (example_inputs,))
    if input_size is not None:
        return trace(model, (_empty_input(model, _as_tuple(input_size)),))
    first, *others = _likely_input_sizes(model)
    try:
        return trace(model, (_empty_input(model, first),))
    except GraphError as error:
        for size in others:
            with suppress(GraphError):
                return trace(model, (_empty_input(model, size),))
        raise error from None


def _empty_input(model: nn.Module, size: tuple) -> Tensor:
    if not size or not all(isinstance(n, Integral) and n > 0 for n in size):
        raise GraphError(f"input_size must be positive integers without the batch, got {size}.")
    dtypes = (p.dtype for p in model.parameters() if p.is_floating_point())
    # Two samples: BatchNorm in train mode refuses a single value per channel.
    shape = (2, *map(int, size))
    return torch.empty(shape, dtype=next(dtypes, None), device="meta")


def _likely_input_sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """What the model says of its input: our own networks, torchvision, timm, Hugging Face."""
    config = getattr(model, "config", None)
    timm_config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(timm_config, dict) and timm_config.get("input_size"):
        return [tuple(timm_config["input_size"])]
    size = _as_tuple(getattr(model, "input_size", None))
    if len(size) == 3:  # a single number is the width of a layer rather than of an image
        return [size]
    side = getattr(model, "image_size", None) or getattr(config, "image_size", None)
    sides = _as_tuple(side) * (2 if isinstance(side, Integral) else 1)
    if len(sides) != 2:
        return list(DEFAULT_INPUT_SIZES)
    size = (getattr(config, "num_channels", 3), *sides)
    frames = getattr(config, "num_frames", None)
    return [size, (frames, *size)] if isinstance(frames, Integral) else [size]


def _as_tuple(value: Any) -> tuple:
    if isinstance(value, (tuple, list, torch.Size)):
        return tuple(value)
    return () if value is None else (value,)
