r"""Networks of torchvision with random, predicted and trained parameters. The trained ones are
those of a folder of state dicts, or are trained here and kept in OUT/trained: a row for each that
is there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pyg_ghn import initialize
from pyg_ghn._files import atomic_path
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import accuracy
from pyg_ghn.training import FinetuneConfig, finetune
from tables.options import Options
from tables.rows import Job, Row, Rows


def trained(names: Callable[[Options], list[str]]) -> Rows:
    r"""The rows of some networks."""

    def jobs(options: Options) -> Iterator[Job]:
        for name in names(options):
            yield {"network": name}, partial(train, options, name)

    return Rows("trained", ("network",), settings, jobs)


def settings(options: Options) -> Row:
    r"""All that trained networks depend on.

    Raises:
        ConfigError: If their folder is missing, or an option does not make sense.
    """
    if options.trained and not Path(options.trained).is_dir():
        raise ConfigError(f"--trained: there is no folder {options.trained}.")
    config = _config(options)
    here = f"{config.steps} steps of {config.optimizer}, learning rate {config.lr}"
    return {**options.describe_images(), "trained": options.trained or here}


def _config(options: Options) -> FinetuneConfig:
    steps = options.trained_steps or (4 if options.quick else 200)
    return FinetuneConfig(steps, optimizer="adamw", lr=1e-3, seed=options.seeds[0])


def starts(options: Options) -> list[str]:
    r"""What :func:`network` can be initialized with."""
    return ["random", *options.whole_ghns, "trained"]


def network(options: Options, name: str, start: str) -> nn.Module:
    r"""A network of torchvision; predicted parameters are as the GHN predicts them."""
    seed, size = options.seeds[0], options.data.input_size
    model = options.start(options.torchvision(name).build, "random", seed)
    if start == "trained":
        _load(model, options, name)
    elif start != "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of class tokens
            initialize(model, options.ghn(start), input_size=size)
    return model


def _load(model: nn.Module, options: Options, name: str) -> None:
    folder = Path(options.trained or options.folder / "trained")
    paths = [folder / f"{name}.{suffix}" for suffix in ("safetensors", "pt", "pth")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ConfigError(f"{folder} has no {name}.safetensors, .pt or .pth.")
    if path.suffix == ".safetensors":
        state = OrderedDict(load_file(path))
        state._metadata = model.state_dict()._metadata  # MNASNet asks for the version of its layers
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys  # without auxiliary heads
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{path} does not fit {name}: {' '.join(str(error).split())}") from error
    if missing:
        raise ConfigError(f"{path} lacks {missing[0]} of {name}.")


def train(options: Options, name: str) -> Row:
    r"""Makes sure that the trained parameters of a network are there."""
    path, row = options.folder / "trained" / f"{name}.safetensors", {}
    if not options.trained and not path.is_file():
        model = network(options, name, "random")
        result = finetune(model, options.data, _config(options))
        row["seconds"] = result.seconds
        if not all(value.isfinite().all() for value in model.state_dict().values()):
            raise ConfigError(
                f"Training of {name} diverged after {result.curve[-1]['step']} steps."
            )
        with atomic_path(path) as temporary:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary)
    model = network(options, name, "trained")
    return {"accuracy": accuracy(model, None, options.data.test)["top1"], **row}
