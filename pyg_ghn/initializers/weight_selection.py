r"""Weight selection: a model starts with a part of a larger trained one."""

import re
from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyg_ghn.errors import ConfigError


@torch.no_grad()
def select_weights(model: nn.Module, larger: nn.Module) -> nn.Module:
    r"""Initializes a model in place with elements of a larger trained model of the same family, as
    in the `"Initializing Models with Larger Ones" <https://arxiv.org/abs/2311.18823>`_ paper: each
    layer takes evenly spaced elements, along each dimension, of one of the larger model's layers.
    Running statistics of BatchNorm come along.

    Layers whose names differ in their last number only are matched together: if all of them are in
    the larger model and none is smaller there, by name, which takes the first layers of each stage;
    else in their order, each with the next one that is large enough. The last layer stays as it is
    where it has another number of outputs, as its classes are others.

    Args:
        model (torch.nn.Module): The model, which is changed.
        larger (torch.nn.Module): The larger one, which is only read.

    Returns:
        The model.

    Raises:
        ConfigError: If a layer finds none to select from. The model is unchanged then.
    """
    last = next(reversed(dict(model.named_parameters())), "").rpartition(".")[0]
    others, selected = _layers(larger), []
    for pattern, layers in _layers(model).items():
        named = others[pattern]
        is_by_name = all(_fits(layer, named.get(name)) for name, layer in layers.items())
        following = iter(named.values())
        for name, layer in layers.items():
            if is_by_name:
                source = named[name]
            else:
                source = next((other for other in following if _fits(layer, other)), None)
            key = next(iter(layer))
            if name == last and not (source and source[key].shape[:1] == layer[key].shape[:1]):
                continue
            if source is None:
                shapes = ", ".join(f"'{name}.{k}' {tuple(v.shape)}" for k, v in layer.items())
                raise ConfigError(
                    f"{shapes} can't be selected: {type(larger).__name__} has no further layer "
                    f"'{pattern}' that is as large. Is it of the same family?"
                )
            selected += [(value, source[key]) for key, value in layer.items()]
    for value, source in selected:
        for dim, (size, full) in enumerate(zip(value.shape, source.shape, strict=True)):
            index = torch.arange(size, device=source.device) * (full // size)
            if full % size:
                index = torch.linspace(0, full - 1, size, device=source.device).round().long()
            source = source.index_select(dim, index)
        value.copy_(source)
    return model


def _layers(model: nn.Module) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Each layer's tensors by their names in it, by its name, by that without its last number."""
    found: dict[str, dict[str, dict[str, Tensor]]] = defaultdict(dict)
    for name, module in model.named_modules():
        tensors = dict(module.named_parameters(recurse=False))
        if isinstance(module, _BatchNorm):
            tensors |= dict(module.named_buffers(recurse=False))
        if tensors:
            found[re.sub(r"\d+(?=\D*$)", "*", name)][name] = tensors
    return found


def _fits(layer: dict[str, Tensor], source: dict[str, Tensor] | None) -> bool:
    return source is not None and all(
        name in source
        and value.dim() == source[name].dim()
        and all(n <= m for n, m in zip(value.shape, source[name].shape, strict=True))
        for name, value in layer.items()
    )
