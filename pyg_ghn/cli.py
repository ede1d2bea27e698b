r"""The command pyg-ghn: meta-train a GHN, evaluate it, predict parameters, draw pictures, generate
networks, convert checkpoints."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mode
from typing import Any, Literal

from jsonargparse import ArgumentParser

from pyg_ghn import picture_commands as pictures
from pyg_ghn.errors import GHNError
from pyg_ghn.training import TrainConfig


def main(argv: list[str] | None = None) -> None:
    """Runs the command line. What the user can mend comes as one message, without a traceback."""
    # PyG uses it on import; it is nothing that a user of this command could mend.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    sys.path.insert(0, "")  # as `python -m` does: factories in the current folder

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
    from pyg_ghn.drawing import draw_generalization
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
        draw_generalization(result, Path(out) / "plot.png")
    print(f"\n{result.table()}\nresults.json, table.txt and plot.png are in {Path(out).resolve()}")


def predict(
    model: str,
    checkpoint: str = "ghn3-digits",
    out: str | None = None,
    input_size: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
    mode: Literal["train", "eval"] = "train",
    report: str | None = None,
    seed: int = 0,
) -> None:
    """Predict the parameters of a model and write its state dict.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        checkpoint: The GHN: a packaged name, a hub name or a path.
        out: The safetensors file to write, by default named after the model.
        input_size: Size of one input, [3,224,224] for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
        mode: The mode of the model in the one forward pass that shows its graph: auxiliary heads
            run in train mode only, detection models in eval mode only.
        report: A JSON file to write what became of every parameter to.
        seed: Seed of everything that is not predicted.
    """
    import torch
    from safetensors.torch import save_model

    from pyg_ghn._files import atomic_path
    from pyg_ghn.checkpoint import from_pretrained
    from pyg_ghn.initialization import assign_parameters
    from pyg_ghn.models import build_model

    torch.manual_seed(seed)
    ghn = from_pretrained(checkpoint)
    network = build_model(model, model_args).train(mode == "train")
    prediction = ghn.predict(network, input_size=tuple(input_size) if input_size else None)
    assign_parameters(network, {**prediction, **prediction.buffers})
    path = Path(out or f"{model.rpartition(':')[2].replace('/', '-')}.safetensors")
    with _writing(path), atomic_path(path) as temporary:
        save_model(network, str(temporary))
    print(f"{prediction.report}\nThe state dict is in {path}.")
    if report:
        with _writing(report, "--report"), atomic_path(report) as temporary:
            temporary.write_text(json.dumps(prediction.report.to_dict(), indent=1))


def convert(checkpoint: str, out: str) -> None:
    """Write a checkpoint of any kind, released ones too, in the format of this package.

    Args:
        checkpoint: The GHN: a path, a hub name or the name of a released file (ghn3tm8.pt).
        out: A .safetensors file, or a folder for model.safetensors and config.json.
    """
    from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained

    ghn = from_pretrained(checkpoint)
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in read_metadata(checkpoint).items()
    }
    with _writing(out):
        path = save_pretrained(ghn, out, metadata)
    print(f"{type(ghn).__name__} of {sum(p.numel() for p in ghn.parameters()):,} parameters")
    for name, value in ghn.config.items():
        print(f"  {name}: {value}")
    print(f"It is in {path}.")


def generate(
    split: str = "train",
    num: int | None = None,
    out: str = "data/deepnets1m",
    workers: int = 1,
    seed: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Generate networks of DeepNets-1M with their graphs.

    Args:
        split: train, val, test, wide, deep, dense, bnfree or search.
        num: Number of networks, by default as many as the split has.
        out: Folder of the data set. A run that was interrupted goes on from there.
        workers: Number of processes.
        seed: Another seed than the split's own.
        rank: Number of this machine, of those that share the folder and the work.
        world_size: Number of machines.
    """
    from pyg_ghn.datasets.generate import generate, generated_path

    with _writing(out):
        path = generated_path(out, split, num)
        store = generate(path, split, num, seed, workers, rank, world_size)
    if store is None:
        print(f"Rank {rank} is done; the last one to finish writes {path}.")
    else:
        size = path.stat().st_size
        print(f"{len(store):,} networks in {path}: {size:,} bytes, {size / len(store):.0f} each.")


@contextmanager
def _writing(path: str | Path, option: str = "--out") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GHNError(f"Can't write to {path}: {error}; choose another {option}.") from error


def _train_arguments(parser: ArgumentParser) -> None:
    parser.add_class_arguments(TrainConfig, None, as_group=False)
    for action in parser._actions:  # the docstring is made for the documentation
        if action.help:
            text = re.sub(r"\s*\(default: .*\)\s*$", "", action.help, flags=re.DOTALL)
            action.help = re.sub(r":\w+:`[~\\]?([^`]*)`", r"\1", text)


def _convert_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=str, help="The GHN: a path or a name on the hub.")
    parser.add_argument(
        "-o", "--out", type=str, required=True, help="A .safetensors file, or a folder."
    )


def _arguments_of(function: Callable) -> Callable[[ArgumentParser], None]:
    return lambda parser: parser.add_function_arguments(
        function, as_group=False, as_positional=True
    )


COMMANDS = {
    "train": (train, _train_arguments),
    "evaluate": (evaluate, _arguments_of(evaluate)),
    "predict": (predict, _arguments_of(predict)),
    "convert": (convert, _convert_arguments),
    "generate": (generate, _arguments_of(generate)),
    "draw": (pictures.draw, pictures.arguments_of(pictures.draw)),
    "draw-embeddings": (
        pictures.draw_embeddings,
        pictures.arguments_of(pictures.draw_embeddings),
    ),
    "draw-filters": (pictures.draw_filters, pictures.arguments_of(pictures.draw_filters)),
}
r"""Subcommand to what it runs and what declares its options."""
