r"""The command pyg-ghn: meta-train a GHN, evaluate it, predict parameters, draw pictures."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mode
from typing import Any

from jsonargparse import ArgumentParser

from pyg_ghn import picture_commands as pictures
from pyg_ghn.errors import GHNError
from pyg_ghn.training import TrainConfig


def main(argv: list[str] | None = None) -> None:
    """Runs the command line. What the user can mend comes as one message, without a traceback."""
    # PyG uses it on import; it is nothing that a user of this command could mend.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")

    parser = ArgumentParser(prog="pyg-ghn", description=__doc__)
    subcommands = parser.add_subcommands()
    for name, (run, add_arguments) in COMMANDS.items():
        summary = run.__doc__.split("\n")[0]
        subparser = ArgumentParser(description=summary)
        subparser.add_argument("--config", action="config", help="YAML file with these options.")
        add_arguments(subparser)
        subcommands.add_subcommand(name, subparser, help=summary)
    chosen = parser.parse_args(argv)
    options = chosen[chosen.subcommand].as_dict()
    del options["config"]
    try:
        COMMANDS[chosen.subcommand][0](**options)
    except GHNError as error:
        sys.exit(f"pyg-ghn {chosen.subcommand}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"pyg-ghn {chosen.subcommand}: interrupted (a run goes on from its checkpoint).")


def train(**options: Any) -> None:
    """Meta-train a GHN-3 on freshly sampled architectures."""
    from pyg_ghn.training import launch

    config = TrainConfig(**options)
    path = launch(config)
    root = f" --image_root {config.image_root}" if config.image_root else ""
    print(f"The GHN is in {path}. Evaluate it with: pyg-ghn evaluate --checkpoint {path}{root}")


def evaluate(
    checkpoint: str = "ghn3-digits",
    images: str | None = None,
    image_root: str | None = None,
    splits: list[str] | None = None,
    num_networks: int | None = None,
    channels: int | None = None,
    fc_dim: int = 64,
    image_split: str = "test",
    out: str = "results",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Classify held-out images with parameters predicted for unseen networks of every split.

    Args:
        checkpoint: The GHN: a packaged name, a hub name or a path.
        images: Image set, by default the one that the GHN was trained on.
        image_root: Folder of the image set.
        splits: Of val, test, wide, deep, dense, bnfree and torchvision, as '["test","deep"]';
            all of them by default.
        num_networks: Networks of each split of DeepNets-1M; all by default.
        channels: Width C of the first cells, by default the one the GHN was trained with.
        fc_dim: Width of hidden classifier layers.
        image_split: The images to classify, test or val.
        out: Folder for results.json, table.txt and plot.png.
        seed: Seed of the random initializations.
        threads: Torch threads.
    """
    import torch

    from pyg_ghn.checkpoint import from_pretrained, read_metadata
    from pyg_ghn.evaluation import DEFAULT_SPLITS, evaluate_ghn
    from pyg_ghn.images import get_image_data

    if threads:
        torch.set_num_threads(threads)
    ghn = from_pretrained(checkpoint)
    trained = read_metadata(checkpoint).get("training", {})
    channels = channels or mode(trained.get("channels") or [32])
    result = evaluate_ghn(
        ghn,
        get_image_data(images or trained.get("images", "digits"), root=image_root),
        splits or DEFAULT_SPLITS,
        num_networks,
        seed=seed,
        image_split=image_split,
        channels=channels,
        fc_dim=fc_dim,
    )
    with _writing(out):
        result.save(out)
    print(f"\n{result.table()}\nresults.json, table.txt and plot.png are in {Path(out).resolve()}")


def predict(
    model: str,
    checkpoint: str = "ghn3-digits",
    out: str | None = None,
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Predict the parameters of a model and write its state dict.

    Args:
        model: A torchvision model's name, or package.module:factory.
        checkpoint: The GHN: a packaged name, a hub name or a path.
        out: The safetensors file to write, by default named after the model.
        input_size: Size of one input, [3,224,224] for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
        seed: Seed of everything that is not predicted.
    """
    import torch
    from safetensors.torch import save_model

    from pyg_ghn._files import atomic_path
    from pyg_ghn.checkpoint import from_pretrained
    from pyg_ghn.initialization import assign_parameters

    torch.manual_seed(seed)
    ghn = from_pretrained(checkpoint)
    network = build_model(model, model_args or {})
    params = ghn.predict(network, input_size=tuple(input_size) if input_size else None)
    left = assign_parameters(network, params)
    path = Path(out or f"{model.rpartition(':')[2]}.safetensors")
    with _writing(path), atomic_path(path) as temporary:
        save_model(network, str(temporary))
    print(_prediction_summary(network, params, left))
    print(f"The state dict is in {path}.")
    if any(name.endswith("running_mean") for name, _ in network.named_buffers()):
        print("BatchNorm keeps its running statistics: train, or evaluate with batch statistics.")


@contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GHNError(f"Can't write to {path}: {error}; choose another --out.") from error


def _prediction_summary(network: Any, params: dict[str, Any], left: list[str]) -> str:
    sizes = {name: param.numel() for name, param in network.named_parameters()}
    predicted = sum(sizes[name] for name in params)
    lines = [
        f"predicted: {len(params)} of {len(sizes)} parameters, "
        f"{predicted:,} of {sum(sizes.values()):,} values"
    ]
    lines += [f"not predicted: {name} ({sizes[name]:,} values)" for name in left]
    return "\n".join(lines)


def build_model(name: str, arguments: dict[str, Any]) -> Any:
    r"""Builds ``package.module:factory`` or the torchvision model of that name.

    Args:
        name (str): The name.
        arguments (dict): Arguments of the constructor.

    Raises:
        GHNError: If there is no such model, it does not take the arguments or fails.
    """
    from torch import nn

    if ":" in name:
        module, _, factory = name.partition(":")
        sys.path.insert(0, "")  # as `python -m` does: factories in the current folder
        try:
            build = getattr(importlib.import_module(module), factory)
        except Exception as error:  # the user's module can fail in any way
            raise GHNError(f"Can't find {name}: {_described(error)}") from error
    else:
        from torchvision.models import get_model_builder

        try:
            build = get_model_builder(name)
        except ValueError as error:
            raise GHNError(
                f"torchvision has no model {name!r}; give one of torchvision.models.list_models() "
                "or package.module:factory."
            ) from error
    try:
        inspect.signature(build).bind(**arguments)
    except (TypeError, ValueError) as error:  # ValueError: a builtin without signature
        raise GHNError(f"{name} does not take the arguments {arguments}: {error}") from error
    try:
        model = build(**arguments)
    except Exception as error:  # the user's function can fail in any way
        raise GHNError(
            f"{name} failed with the arguments {arguments}: {_described(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise GHNError(f"{name} returned a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _train_arguments(parser: ArgumentParser) -> None:
    parser.add_class_arguments(TrainConfig, None, as_group=False)
    for action in parser._actions:  # the docstring is made for the documentation
        if action.help:
            text = re.sub(r" ?\(default: [^)]*\)", "", action.help)
            action.help = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)


def _arguments_of(function: Callable) -> Callable[[ArgumentParser], None]:
    return lambda parser: parser.add_function_arguments(
        function, as_group=False, as_positional=True
    )


COMMANDS = {
    "train": (train, _train_arguments),
    "evaluate": (evaluate, _arguments_of(evaluate)),
    "predict": (predict, _arguments_of(predict)),
    "draw": (pictures.draw, pictures.arguments_of(pictures.draw)),
    "draw-embeddings": (
        pictures.draw_embeddings,
        pictures.arguments_of(pictures.draw_embeddings),
    ),
    "draw-filters": (pictures.draw_filters, pictures.arguments_of(pictures.draw_filters)),
}
r"""Subcommand to what it runs and what declares its options."""
