r"""The commands of pyg-ghn that make pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from jsonargparse import ArgumentParser


def draw(
    model: str,
    out: str = "graph.svg",
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
    backend: Literal["matplotlib"] = "matplotlib",
) -> None:
    """Draw the computational graph of a model.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        out: The .svg, .pdf or .png file to write.
        input_size: Size of one input, [3,224,224] for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
        backend: What draws: matplotlib is the only choice left.
    """
    from pyg_ghn.drawing import draw_graph

    _, graph = _network(model, input_size, model_args)
    print(f"The graph is in {draw_graph(graph, out, model)}.")


def draw_embeddings(
    models: list[str],
    out: str = "embeddings.png",
    checkpoint: str = "ghn3-digits",
    input_size: list[int] | None = None,
    method: str = "pca",
) -> None:
    """Draw the embeddings that a GHN makes of the nodes of models.

    Args:
        models: As of pyg-ghn draw.
        out: The .svg, .pdf or .png file to write.
        checkpoint: The GHN: a packaged name, a hub name or a path.
        input_size: Size of one input, [3,224,224] for example; by default what each model tells.
        method: Projection to two dimensions, pca or tsne.
    """
    from pyg_ghn import drawing
    from pyg_ghn.checkpoint import from_pretrained

    graphs = {model: _network(model, input_size, None)[1] for model in models}
    path = drawing.draw_embeddings(from_pretrained(checkpoint), graphs, out, method)
    print(f"The node embeddings are in {path}.")


def draw_filters(
    model: str,
    out: str = "filters.png",
    checkpoints: list[str] | None = None,
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Draw the first convolution's filters as GHNs predict them, and as the model begins.

    Args:
        model: As of pyg-ghn draw.
        out: The .svg, .pdf or .png file to write.
        checkpoints: The GHNs, as '["ghn3-digits"]': packaged names, hub names or paths.
        input_size: Size of one input, [3,224,224] for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
        seed: Seed of the model's own initialization.
    """
    import torch

    from pyg_ghn import drawing
    from pyg_ghn.checkpoint import from_pretrained

    torch.manual_seed(seed)
    network, graph = _network(model, input_size, model_args)
    name = drawing.first_convolution(graph)
    weights = {
        checkpoint: from_pretrained(checkpoint).predict_graph(graph)[name]
        for checkpoint in checkpoints or ["ghn3-digits"]
    }
    weights["the model's own initialization"] = network.get_parameter(name)
    print(f"The filters {name} are in {drawing.draw_filters(weights, out)}.")


def arguments_of(function: Callable) -> Callable[[ArgumentParser], None]:
    r"""What declares the options of one of these commands: its parameters, with :obj:`-o` short for
    :obj:`--out` and several models as several words."""
    parameters = inspect.signature(function).parameters

    def add(parser: ArgumentParser) -> None:
        if "models" in parameters:
            parser.add_argument("models", nargs="+", metavar="MODEL", help="As of pyg-ghn draw.")
        options = {"skip": {"models", "out"}, "as_group": False, "as_positional": True}
        parser.add_function_arguments(function, **options)
        default = parameters["out"].default
        parser.add_argument("-o", "--out", default=default, help="The .svg, .pdf or .png file.")

    return add


def _network(
    name: str, input_size: list[int] | None, model_args: dict[str, Any] | None
) -> tuple[Any, Any]:
    """A model by name, and its graph."""
    from pyg_ghn.graph import from_module
    from pyg_ghn.models import build_model

    size, arguments = tuple(input_size) if input_size else None, model_args or {}
    if size and name.startswith("deepnets:"):  # built for one size of images
        arguments = {"input_size": size, **arguments}
    model = build_model(name, arguments)
    return model, from_module(model, input_size=size)
