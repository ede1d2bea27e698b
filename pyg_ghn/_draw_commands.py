r"""The commands that draw."""

from __future__ import annotations

from typing import Any


def draw(
    model: str,
    out: str = "graph.svg",
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
) -> None:
    """Draw the computational graph of a model.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        out: The .svg, .pdf or .png file to write.
        input_size: Size of one input, 3 224 224 for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
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
        input_size: Size of one input, 3 224 224 for example; by default what each model tells.
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
        checkpoints: The GHNs: packaged names, hub names or paths; ghn3-digits by default.
        input_size: Size of one input, 3 224 224 for example; by default what the model tells.
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


def _network(
    name: str, input_size: list[int] | None, model_args: dict[str, Any] | None
) -> tuple[Any, Any]:
    """A model by name, and its graph."""
    from pyg_ghn.architectures import build_model
    from pyg_ghn.graph import from_module

    size, arguments = input_size and tuple(input_size), model_args or {}
    if size and name.startswith("deepnets:"):  # built for one size of images
        arguments = {"input_size": size, **arguments}
    model = build_model(name, arguments)
    return model, from_module(model, input_size=size)
