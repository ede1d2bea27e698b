r"""Models by name: those of torchvision, timm and DeepNets-1M, and own factories."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from pyg_ghn.architectures.network import network_from_args
from pyg_ghn.architectures.sampler import SPLITS, split_net_args
from pyg_ghn.errors import ArchitectureError, GHNError


def build_model(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
) -> nn.Module:
    r"""Builds a model from its name, with its own random initialization: nothing is downloaded.

    Args:
        name (str): A name of :func:`torchvision.models.list_models` (classification, segmentation,
            detection, video), :obj:`timm:NAME` with a name of :func:`timm.list_models`,
            :obj:`deepnets:SPLIT/INDEX` for a network of DeepNets-1M as
            :func:`~pyg_ghn.architectures.split_net_args` draws it, or
            :obj:`package.module:factory` for any function or class that returns a model.
        arguments (dict, optional): Arguments of its constructor. (default: :obj:`None`)
        input_size (tuple, optional): Size of an image, for which networks of DeepNets-1M are built.
            Others are as they are. (default: :obj:`None`)

    Raises:
        GHNError: If the model is unknown, does not take the arguments or cannot be built.
    """
    if not isinstance(name, str):
        raise GHNError(f"A model is built by its name, a string, got {name!r:.80}.")
    arguments = dict(arguments or {})
    source, _, rest = name.rpartition(":")
    if source == "deepnets" and input_size is not None:
        arguments = {"input_size": tuple(input_size), **arguments}
    if source in _SOURCES:
        build = _SOURCES[source](rest)
    else:
        try:
            build = getattr(importlib.import_module(source), rest)
        except (Exception, SystemExit) as error:  # the user's module can fail in any way
            raise GHNError(f"Can't find {name}: {type(error).__name__}: {error}") from error
    try:
        inspect.signature(build).bind(**arguments)
    except (TypeError, ValueError) as error:  # ValueError: a builtin without signature
        raise GHNError(f"{name} does not take the arguments {arguments}: {error}") from error
    try:
        model = build(**arguments)
    except (Exception, SystemExit) as error:  # the user's function can fail in any way
        raise GHNError(
            f"{name} failed with the arguments {arguments}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise GHNError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module.")
    return model


def torchvision_model(
    name: str, num_classes: int, input_size: tuple[int, int, int] = (3, 224, 224)
) -> nn.Module:
    r"""Builds a torchvision classification model with its own random initialization and without
    auxiliary heads, adapted to the size of the images.

    Args:
        name (str): The model's name in torchvision, *e.g.* :obj:`"resnet18"`.
        num_classes (int): The number of classes.
        input_size (tuple, optional): Size of an image, see
            :func:`~pyg_ghn.architectures.adapt_to_small_images`. (default: :obj:`(3, 224, 224)`)

    Raises:
        ArchitectureError: If torchvision has no such model, or it cannot be adapted.
    """
    from torchvision import models

    from pyg_ghn.architectures.small_images import adapt_to_small_images

    if name not in models.list_models(module=models):
        raise ArchitectureError(
            f"torchvision has no classification model {name!r}; "
            "torchvision.models.list_models(module=torchvision.models) names them."
        )
    arguments: dict[str, Any] = {"num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": True}
    return adapt_to_small_images(build_model(name, arguments), input_size)


def build_for_images(
    name: str,
    num_classes: int,
    input_size: tuple[int, int, int],
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    r"""Builds a model as :func:`build_model` does, for images of a size and with a number of
    classes: torchvision's classification models are adapted to the size. Own factories get their
    arguments alone.

    Args:
        name (str): See :func:`build_model`.
        num_classes (int): The number of classes.
        input_size (tuple): Size of an image.
        arguments (dict, optional): Further arguments of its constructor. (default: :obj:`None`)

    Raises:
        GHNError: If the model is unknown, does not take the arguments or cannot be built.
    """
    from torchvision import models

    from pyg_ghn.architectures.small_images import adapt_to_small_images

    source, arguments = name.rpartition(":")[0], dict(arguments or {})
    is_classifier = name in models.list_models(module=models)
    if is_classifier and not arguments:
        return torchvision_model(name, num_classes, input_size)
    if source in _SOURCES:
        arguments = {"num_classes": num_classes, **arguments}
    model = build_model(name, arguments, input_size)
    return adapt_to_small_images(model, input_size) if is_classifier else model


def _torchvision(name: str) -> Callable[..., Any]:
    from torchvision.models import get_model_builder

    try:
        build = get_model_builder(name)
    except ValueError as error:
        raise GHNError(
            f"torchvision has no model {name!r}; give one of torchvision.models.list_models(), "
            "timm:NAME, deepnets:SPLIT/INDEX or package.module:factory."
        ) from error
    # The only builders that download by default are those with a pretrained backbone.
    has_backbone = "weights_backbone" in inspect.signature(build).parameters
    return partial(build, weights_backbone=None) if has_backbone else build


def _timm(name: str) -> Callable[..., Any]:
    try:
        import timm
    except ImportError as error:
        raise GHNError(f"timm:{name} needs timm: pip install 'pyg-ghn[timm]'.") from error
    if not timm.is_model(name):
        raise GHNError(f"timm has no model {name!r}; give one of timm.list_models().")
    return partial(timm.create_model, name)


def _deepnets(name: str) -> Callable[..., Any]:
    split, _, index = name.partition("/")
    if split not in SPLITS or not index.isdecimal() or int(index) >= SPLITS[split].num_networks:
        counts = ", ".join(f"{name} ({split.num_networks:,})" for name, split in SPLITS.items())
        raise GHNError(f"DeepNets-1M has no network {name}; splits: {counts}.")

    def build(input_size: Sequence[int] = (3, 32, 32), **arguments: Any) -> nn.Module:
        (net_args,) = split_net_args(split, 1, start=int(index))
        width = SPLITS[split].widened(net_args.get("C", 32), tuple(input_size))
        arguments = {"C": width, "input_size": tuple(input_size), **arguments}
        return network_from_args(net_args, **arguments)

    return build


_SOURCES: dict[str, Callable[[str], Callable[..., Any]]] = {
    "": _torchvision,
    "deepnets": _deepnets,
    "timm": _timm,
}
