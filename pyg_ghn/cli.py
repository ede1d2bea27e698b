r"""The command pyg-ghn: meta-train a GHN, evaluate it, predict parameters, draw pictures, generate
networks, convert checkpoints. Lists are several words (--splits test deep); -o is --out."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mode as most_common
from typing import Any, Literal

from pyg_ghn._arguments import Parser, check_options, joined_lists, named_after, writing
from pyg_ghn._commands import convert, draw, draw_embeddings, draw_filters, verify
from pyg_ghn._version import __version__
from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.training import FinetuneConfig, TrainConfig


def main(argv: list[str] | None = None) -> None:
    """Runs the command line. What the user can mend comes as one message, without a traceback."""
    # PyG uses it on import; it is nothing that a user of this command could mend.
    warnings.filterwarnings("ignore", message=".*torch.jit.script")
    warnings.formatwarning = lambda message, *_: f"pyg-ghn: warning: {message}\n"
    sys.path.insert(0, "")  # as `python -m` does: factories in the current folder

    parser = Parser(prog="pyg-ghn", description=__doc__, version=__version__)
    subcommands = parser.add_subcommands()
    for name, run in COMMANDS.items():
        summary = run.__doc__.split("\n")[0]
        subparser = Parser(description=summary)
        subparser.add_argument("--config", action="config", help="YAML file with these options.")
        if name in CONFIGS:  # lists of some options take the place of single ones
            skip = {option.removesuffix("s") for option in run.__annotations__}
            subparser.add_class_arguments(CONFIGS[name], None, as_group=False, skip=skip)
        if run is draw_embeddings:
            subparser.add_argument("models", nargs="+", metavar="MODEL", help="As of pyg-ghn draw.")
            subparser.add_function_arguments(run, as_group=False, skip={"models"})
        else:
            subparser.add_function_arguments(
                run, as_group=False, as_positional=True, skip={"config"}
            )
        subcommands.add_subcommand(name, subparser, help=summary)

    words = sys.argv[1:] if argv is None else argv
    annotated = {
        name: (run, CONFIGS[name]) if name in CONFIGS else (run,) for name, run in COMMANDS.items()
    }
    try:
        chosen = parser.parse_args(joined_lists(words, annotated))
    except UnicodeDecodeError as error:
        parser.error(f"the file given by --config is no text in UTF-8: {error}.")
    command = f"pyg-ghn {chosen.subcommand}"
    options = chosen[chosen.subcommand].as_dict()
    del options["config"]
    try:
        check_options(options)
        if config := CONFIGS.get(chosen.subcommand):
            own = {name: options.pop(name) for name in config.__annotations__ if name in options}
            options["config"] = config(**own)
        COMMANDS[chosen.subcommand](**options)
    except (GHNError, OSError) as error:
        sys.exit(f"{command}: {error}")
    except MemoryError:
        sys.exit(f"{command}: there is not enough memory for options as large as these.")
    except KeyboardInterrupt:
        resumed = chosen.subcommand in ("train", "generate")
        print(f"{command}: interrupted{', run it again to go on' * resumed}.", file=sys.stderr)
        sys.exit(130)


def train(config: TrainConfig) -> None:
    """Meta-train a GHN on freshly sampled architectures."""
    from pyg_ghn.training import launch

    path = launch(config)
    root = f" --image_root {config.image_root}" if config.image_root else ""
    print(f"The GHN is in {path}. Evaluate it with: pyg-ghn evaluate --checkpoint {path}{root}")


def evaluate(
    checkpoint: str = "ghn3-digits",
    images: str | None = None,
    image_root: str | None = None,
    image_size: int | None = None,
    splits: list[str] | None = None,
    num_networks: int | None = None,
    channels: int | None = None,
    fc_dim: int = 64,
    image_split: str = "test",
    num_images: int | None = None,
    out: str = "results",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Classify held-out images with parameters predicted for unseen networks of every split.

    Args:
        checkpoint: The GHN: a packaged name, a hub name or a path.
        images: Image set, by default the one that the GHN was trained on.
        image_root: Folder of the image set.
        image_size: Height and width of the images, by default those that the GHN was trained with.
        splits: Of val, test, wide, deep, dense, bnfree and torchvision; all of them by default.
        num_networks: Networks of each split; all by default.
        channels: Width C of the first cells, by default the one the GHN was trained with.
        fc_dim: Width of hidden classifier layers.
        image_split: The images to classify, test or val.
        num_images: At most so many of them, always the same ones; all by default.
        out: Folder for results.json, table.txt and plot.png.
        seed: Seed of the random initializations.
        threads: Torch threads.
    """
    import torch

    from pyg_ghn.checkpoint import from_pretrained, read_metadata
    from pyg_ghn.drawing import draw_generalization
    from pyg_ghn.evaluation import DEFAULT_SPLITS, evaluate_ghn
    from pyg_ghn.images import get_image_data

    if threads is not None:
        torch.set_num_threads(threads)
    ghn = from_pretrained(checkpoint)
    trained = read_metadata(checkpoint).get("training", {})
    if channels is None:
        channels = most_common(trained.get("channels") or [32])
    result = evaluate_ghn(
        ghn,
        get_image_data(
            images or trained.get("images", "digits"),
            root=image_root,
            image_size=image_size or trained.get("image_size"),
            num_images=num_images,
        ),
        DEFAULT_SPLITS if splits is None else splits,
        num_networks,
        seed=seed,
        image_split=image_split,
        channels=channels,
        fc_dim=fc_dim,
    )
    with writing(out):
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
    images: str | None = None,
    image_root: str | None = None,
    image_size: int | None = None,
    report: str | None = None,
    seed: int = 0,
) -> None:
    """Predict the parameters of a model and write its state dict.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        checkpoint: The GHN: a packaged name, a hub name or a path.
        out: The safetensors file to write, by default named after the model.
        input_size: Size of one input, 3 224 224 for example; by default what the model tells.
        model_args: Arguments of the model's constructor, for example '{"num_classes": 10}'.
        mode: The mode of the model in the one forward pass that shows its graph: auxiliary heads
            run in train mode only, detection models in eval mode only.
        images: Image set of which unlabelled images set the running statistics of BatchNorm and the
            scales of networks without normalization. Models of torchvision are adapted to it.
        image_root: Folder of the image set.
        image_size: Height and width of the images, by default those that the GHN was trained with.
        report: A JSON file to write what became of every parameter to.
        seed: Seed of everything that is not predicted.
    """
    if images is None and (image_root or image_size):
        raise ConfigError("--image_root and --image_size go with --images: name the image set.")
    if images is not None and input_size is not None:
        raise ConfigError("--images have a size of their own: leave out --input_size.")

    import torch
    from safetensors.torch import save_model

    from pyg_ghn._files import atomic_path
    from pyg_ghn.architectures import build_for_images, build_model
    from pyg_ghn.calibration import CALIBRATION_IMAGES, predict_folded
    from pyg_ghn.checkpoint import from_pretrained, read_metadata
    from pyg_ghn.images import get_image_data
    from pyg_ghn.initialization import assign_parameters
    from pyg_ghn.nn.prediction import STALE_STATISTICS

    torch.manual_seed(seed)
    ghn = from_pretrained(checkpoint)
    path, loading = Path(out or named_after(model, ".safetensors")), ""
    if images is None:
        network = build_model(model, model_args, input_size).train(mode == "train")
        prediction = ghn.predict(network, input_size=input_size and tuple(input_size))
        assign_parameters(network, {**prediction, **prediction.buffers})
    else:
        size = image_size or read_metadata(checkpoint).get("training", {}).get("image_size")
        data = get_image_data(images, root=image_root, image_size=size)
        network = build_for_images(model, data.num_classes, data.input_size, model_args)
        batch, _ = data.train.sample(CALIBRATION_IMAGES)
        prediction = predict_folded(ghn, network.train(mode == "train"), batch)
        assign_parameters(network, {**prediction, **prediction.buffers}, batch)
        notes = [note for note in prediction.report.notes if note != STALE_STATISTICS]
        prediction.report.notes = (*notes,)
        loading = _loading(path, model, data, model_args)
    with writing(path), atomic_path(path) as temporary:
        save_model(network, str(temporary))
    print(f"{prediction.report}\nThe state dict is in {path}.{loading}")
    if report:
        with writing(report, "--report"), atomic_path(report) as temporary:
            temporary.write_text(json.dumps(prediction.report.to_dict(), indent=1))


def finetune(
    model: str,
    config: FinetuneConfig,
    init: str = "ghn3-digits",
    images: str = "digits",
    image_root: str | None = None,
    image_size: int | None = None,
    num_images: int | None = None,
    compare_with: list[str] | None = None,
    lrs: list[float] | None = None,
    seeds: list[int] | None = None,
    model_args: dict[str, Any] | None = None,
    out: str | None = None,
    threads: int | None = None,
) -> None:
    """Fine-tune a model from predicted parameters, beside other starts.

    Each start has its best learning rate, with or without clipping, by validation accuracy.

    Args:
        model: A torchvision model's name, timm:NAME, deepnets:SPLIT/INDEX or
            package.module:factory.
        init: Its start: a GHN (a name or path; with :norms or :kernels behind it for this part of
            its prediction, with :orthogonal for its norms and orthogonal kernels, with :best for
            the better of all of it and the norms), random, orthogonal, gradinit, nio or mimetic.
        images: The image set.
        image_root: Folder of the image set.
        image_size: Height and width of the images, by default those of the set.
        num_images: At most so many validation and test images, always the same ones.
        compare_with: Other starts to train from on the same terms, random by default.
        lrs: Learning rates to choose from, by default 0.1, 0.02, 0.004 and 0.001.
        seeds: Seeds of random initializations and of the order of images, 0 by default.
        model_args: Arguments of the model's constructor.
        out: The safetensors file for the state dict of the best model from --init, by default named
            after the model, with the curves of all starts beside it, as .json and .png.
        threads: Torch threads.
    """
    import torch
    from safetensors.torch import save_model

    from pyg_ghn._files import atomic_path
    from pyg_ghn.architectures import build_for_images
    from pyg_ghn.drawing import plot_curves
    from pyg_ghn.drawing.style import save_figure
    from pyg_ghn.images import get_image_data
    from pyg_ghn.training.finetuning import check_starts, compare

    if threads is not None:
        torch.set_num_threads(threads)
    data = get_image_data(images, image_root, image_size=image_size, num_images=num_images)
    inits = list(dict.fromkeys([init, *(["random"] if compare_with is None else compare_with)]))
    check_starts(inits)

    def build() -> torch.nn.Module:
        return build_for_images(model, data.num_classes, data.input_size, model_args)

    found, lrs = [], list(dict.fromkeys(lrs or [0.1, 0.02, 0.004, 0.001]))
    seeds = list(dict.fromkeys(seeds or [0]))
    first = sorted(inits, key="random".__ne__)  # as its colour is
    curves: dict[str, list[Any]] = {start: [] for start in first}
    for comparison in compare(build, inits, data, config, lrs, seeds):
        print(*[comparison.header()] * (not found), comparison, sep="\n", flush=True)
        found.append(comparison)
        points = [(point["step"], 100 * point["test"]) for point in comparison.result.curve]
        curves[comparison.init].append(points)
    best = max((c for c in found if c.init == init), key=lambda c: c.result.val)
    path = Path(out or named_after(model, "-finetuned.safetensors"))
    with writing(path):
        with atomic_path(path) as temporary:
            save_model(best.model, str(temporary))
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps([c.to_dict() for c in found], indent=1))
        figure = plot_curves(curves, f"accuracy on test images of {images}, %")
        save_figure(figure, path.with_suffix(".png"))
    print(
        "Accuracies are of test images in %, by steps; settings were chosen on validation images. "
        f"All curves are in {path.with_suffix('.json')} and .png, the state dict of the best model "
        f"from {init} is in {path}.{_loading(path, model, data, model_args)}"
    )


def _loading(path: Path, model: str, data: Any, model_args: dict[str, Any] | None) -> str:
    """The lines of Python that load what was written for a model and images."""
    arguments = f", {model_args}" if model_args else ""
    return (
        " Load it by\n"
        "  from pyg_ghn.architectures import build_for_images\n"
        "  from safetensors.torch import load_model\n"
        f"  model = build_for_images({model!r}, {data.num_classes}, {data.input_size}{arguments})\n"
        f"  load_model(model, {str(path)!r})"
    )


def generate(
    split: str = "train",
    num: int | None = None,
    out: str = "data/deepnets1m",
    workers: int = 1,
    seed: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Generate networks of DeepNets-1M.

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

    with writing(out):
        path = generated_path(out, split, num)
        store = generate(path, split, num, seed, workers, rank, world_size)
    if store is None:
        return print(f"Rank {rank} is done; the last one to finish writes {path}.")
    size = path.stat().st_size
    print(f"{len(store):,} networks in {path}: {size:,} bytes, {size / len(store):.0f} each.")


CONFIGS = {"train": TrainConfig, "finetune": FinetuneConfig}  # whose fields are options, too
# Options of a subcommand are the function's parameters, with the help of its docstring.
COMMANDS: dict[str, Callable[..., None]] = {
    run.__name__.replace("_", "-"): run
    for run in (
        *(train, evaluate, predict, finetune, convert, verify, generate),
        *(draw, draw_embeddings, draw_filters),
    )
}
