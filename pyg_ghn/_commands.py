r"""The subcommands of pyg-ghn for checkpoints and pictures."""

import json
import sys
from typing import Any

from pyg_ghn._arguments import named_after, writing
from pyg_ghn.errors import ConfigError


def convert(checkpoint: str, out: str | None = None) -> None:
    """Write a checkpoint of any kind, released ones too, in the format of this package.

    Args:
        checkpoint: The GHN: a path, a hub name or the name of a released file (ghn3tm8.pt).
        out: A .safetensors file, or a folder for model.safetensors and config.json.
    """
    if out is None:
        raise ConfigError("say where to write the GHN: --out FILE.safetensors, or a folder.")

    from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained

    ghn = from_pretrained(checkpoint)
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in read_metadata(checkpoint).items()
    }
    with writing(out):
        path = save_pretrained(ghn, out, metadata)
    print(f"{type(ghn).__name__} of {sum(p.numel() for p in ghn.parameters()):,} parameters")
    for name, value in ghn.config.items():
        print(f"  {name}: {value}")
    print(f"It is in {path}.")


def verify(
    checkpoint: str,
    models: list[str] | None = None,
    norms: str | None = None,
    write: str | None = None,
    seed: int = 0,
) -> None:
    """Check that a GHN predicts here what it predicted elsewhere, by norms of whole networks.

    The exit status is 1 if a norm differs.

    Args:
        checkpoint: The GHN: a packaged name, a hub name or a path.
        models: Names of torchvision's models; by default the 74 of the paper, or all of --norms.
        norms: JSON file of norms to compare with; by default those that the authors published for
            GHN-2, GHN-3-T and GHN-3-XL.
        write: JSON file to write the norms to, instead of comparing them.
        seed: Seed of what the GHN does not predict.
    """
    from pyg_ghn import evaluation
    from pyg_ghn._files import atomic_path
    from pyg_ghn.checkpoint import from_pretrained

    if write and norms:
        raise ConfigError("--write makes norms, --norms compares with some: give one of them.")
    ghn = from_pretrained(checkpoint)
    expected = {} if write else evaluation.read_norms(norms) if norms else None
    checks = []
    print(f"{'network':<24}{'norm':>12}" + f"{'expected':>12}{'off by':>10}" * (not write))
    for check in evaluation.verify(ghn, models, expected, seed):
        print(check, flush=True)
        checks.append(check)
    if write:
        with writing(write, "--write"), atomic_path(write) as path:
            path.write_text(json.dumps({check.name: check.norm for check in checks}, indent=1))
        print(f"The norms are in {write}.")
        return
    agree = sum(check.agrees for check in checks)
    print(f"{agree} of {len(checks)} norms agree.")
    if agree < len(checks):
        sys.exit(1)


def draw(
    model: str,
    out: str | None = None,
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
) -> None:
    """Draw the computational graph of a model.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        out: The .svg, .pdf or .png file to write, by default an .svg named after the model.
        input_size: Size of one input, 3 224 224 for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
    """
    from pyg_ghn.drawing import draw_graph

    _, graph = _network(model, input_size, model_args)
    print(f"The graph is in {draw_graph(graph, out or named_after(model, '.svg'), model)}.")


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
    from pyg_ghn.architectures import build_model
    from pyg_ghn.graph import from_module

    model = build_model(name, model_args, input_size)
    return model, from_module(model, input_size=input_size and tuple(input_size))
