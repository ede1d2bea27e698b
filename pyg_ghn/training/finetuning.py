r"""Training of one network from any start, and the comparison of starts."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyg_ghn.calibration import CALIBRATION_IMAGES, calibrate
from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import CheckpointError, ConfigError, expect
from pyg_ghn.evaluation import accuracy
from pyg_ghn.graph.convert import check_model
from pyg_ghn.images import Augmentation, ImageData
from pyg_ghn.initialization import initialize
from pyg_ghn.initializers import initialize_gradinit, initialize_mimetic, initialize_nio, orthogonal
from pyg_ghn.nn import GHN
from pyg_ghn.training.config import FinetuneConfig


@dataclass
class FinetuneResult:
    r"""What a run of :func:`finetune` reached.

    Attributes:
        config: Its configuration.
        curve: A dictionary for each evaluation: :obj:`step`, :obj:`loss` and :obj:`train` (mean
            loss and accuracy of the batches since the last one), :obj:`val` and :obj:`test`.
            Accuracies are in [0, 1].
        seconds: Time that it took, evaluations included.
    """

    config: FinetuneConfig
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def val(self) -> float:
        r"""Accuracy on the validation images at the end."""
        return self.curve[-1]["val"]

    @property
    def test(self) -> float:
        r"""Accuracy on the test images at the end."""
        return self.curve[-1]["test"]


def finetune(
    model: nn.Module, images: ImageData, config: FinetuneConfig | None = None
) -> FinetuneResult:
    r"""Trains a model in place, from the parameters it has. Whatever the start, BatchNorm is
    evaluated with batch statistics on the way; at the end its running statistics are set to those
    of training images, so that the model can be used in evaluation mode.

    Args:
        model (torch.nn.Module): The model, on any device.
        images (ImageData): The images.
        config (FinetuneConfig, optional): How to train. (default: :obj:`None`, the defaults)

    Returns:
        What it reached. A run whose loss is not finite ends there, with the accuracies it has.

    Raises:
        ConfigError: If the model has no parameters to train, or not an output for each class.
    """
    config = config or FinetuneConfig()
    check_model(model)
    expect(images, ImageData, "images", ": call pyg_ghn.images.get_image_data")
    expect(config, FinetuneConfig, "config")
    start = time.perf_counter()
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise ConfigError("The model has no parameters that require a gradient.")
    device = params[0].device
    kind = torch.optim.SGD if config.optimizer == "sgd" else torch.optim.AdamW
    own = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    optimizer = kind(params, config.lr, weight_decay=config.weight_decay, **own)
    augment = Augmentation(config.rotation, config.zoom, config.shift, config.flip)
    generator = torch.Generator().manual_seed(config.seed)
    result = FinetuneResult(config)
    seen: list[Tensor] = []

    def evaluate(step: int) -> None:
        loss, train = torch.stack(seen).mean(0).tolist() if seen else (None, None)
        point = {"step": step, "loss": loss, "train": train}
        for name in ("val", "test"):
            point[name] = accuracy(model, None, getattr(images, name))["top1"]
        result.curve.append(point)
        seen.clear()

    evaluate(0)
    stops = {config.steps, *(config.evaluate_at or ())}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)  # of dropout
        model.train()
        for step in range(config.steps):
            if config.schedule == "cosine":
                factor = 0.5 * (1 + math.cos(math.pi * step / config.steps))
                optimizer.param_groups[0]["lr"] = config.lr * factor
            elif config.schedule == "step":
                optimizer.param_groups[0]["lr"] = config.lr * 0.1 ** (3 * step // config.steps)
            batch, labels = images.train.sample(config.batch_size, generator, device)
            logits = model(augment(batch, generator))
            if logits.shape[1:] != (images.num_classes,):
                raise ConfigError(
                    f"The model has outputs of shape {tuple(logits.shape[1:])}, but the images "
                    f"'{images.name}' have {images.num_classes} classes."
                )
            loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if config.clip is not None:
                nn.utils.clip_grad_norm_(params, config.clip)
            optimizer.step()
            right = (logits.argmax(1) == labels).to(loss.dtype).mean()
            seen.append(torch.stack([loss.detach(), right]))
            if step + 1 in stops:
                evaluate(step + 1)
                if not math.isfinite(result.curve[-1]["loss"]):
                    break
                model.train()
    model.eval()
    if math.isfinite(result.curve[-1]["loss"]):
        calibrate(model, images.train.sample(CALIBRATION_IMAGES, generator, device)[0])
    result.seconds = time.perf_counter() - start
    return result


def start_model(
    model: nn.Module, init: str | Path | GHN, images: ImageData, seed: int = 0, **options: Any
) -> nn.Module:
    r"""Initializes a model, with the random initialization of its own, in place by the name of a
    start: one in :obj:`STARTS`, else a GHN or what :func:`~pyg_ghn.from_pretrained` takes. Behind a
    GHN's name :obj:`":norms"` or :obj:`":kernels"` takes this part of the prediction only,
    :obj:`":orthogonal"` its norms, with the model's own kernels made orthogonal. Further
    options are those of the start's function, of :func:`~pyg_ghn.initialize` for a GHN.

    A batch of training images calibrates predictions, which are rescaled, too; GradInit and NIO
    learn from batches of 64. The seed chooses the images and the start's own random numbers."""
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    if init in STARTS:
        batches = (images.train.sample(64, generator, device) for _ in count())
        return STARTS[init](model, batches, generator, **options)
    init, (part, *others) = parse_start(init)
    if others:
        raise ConfigError(f"{init}:best is two starts, compare() takes the better one.")
    options = {**part, **options}
    batch, _ = images.train.sample(CALIBRATION_IMAGES, generator, device)
    return initialize(model, init, images=batch, **{"rescale": True, **options})


PARTS: dict[str, list[dict[str, Any]]] = {
    "norms": [{"what": "norms"}],
    "kernels": [{"what": "kernels"}],
    "orthogonal": [{"what": "norms", "orthogonal": True}],
    "best": [{}, {"what": "norms"}],
}
r"""What may stand behind the colon of a start: its options, or two sets of which the better one is
to be taken."""


def parse_start(init: str | Path | GHN) -> tuple[Any, list[dict[str, Any]]]:
    r"""A start without what is behind its colon, and what this stands for in :obj:`PARTS`."""
    name, _, part = str(init).rpartition(":")
    return (name, PARTS[part]) if part in PARTS else (init, [{}])


@torch.no_grad()
def _orthogonal(model: nn.Module, batches: Any, generator: Any) -> nn.Module:
    for param in model.parameters():
        param.copy_(orthogonal(param))
    return model


STARTS: dict[str, Callable[..., nn.Module]] = {
    "random": lambda model, batches, generator: model,
    "orthogonal": _orthogonal,
    "gradinit": lambda model, batches, generator, **kw: initialize_gradinit(model, batches, **kw),
    "nio": lambda model, batches, generator, **kw: initialize_nio(model, batches, **kw),
    "mimetic": lambda model, batches, generator, **kw: initialize_mimetic(
        model, generator=generator, **kw
    ),
}
r"""Starts but for GHNs, by name: functions of the model, endless batches of training images and a
generator of random numbers, that return the model."""


def check_starts(inits: Sequence[str]) -> None:
    """Makes sure before any training that there are all of some starts by name."""
    for init in inits:
        if init not in STARTS:
            try:
                from_pretrained(parse_start(init)[0])
            except CheckpointError as error:
                raise CheckpointError(
                    f"{error} A start may be one of {', '.join(STARTS)}, too; one of "
                    f":{', :'.join(PARTS)} may stand behind a GHN."
                ) from error


def search(
    model: nn.Module | Sequence[nn.Module],
    images: ImageData,
    config: FinetuneConfig,
    lrs: Iterable[float],
    clips: Iterable[float | None] = (1.0, None),
) -> tuple[FinetuneResult, nn.Module, list[FinetuneResult]]:
    r"""Fine-tunes copies of a model with each of some learning rates and bounds of the gradient's
    norm, and chooses by accuracy on the validation images.

    Args:
        model (torch.nn.Module or sequence): The model with its start, which is only copied, or
            several to choose among as well.
        images (ImageData): The images.
        config (FinetuneConfig): Everything else.
        lrs (iterable): The learning rates.
        clips (iterable, optional): The bounds, :obj:`None` for none. (default: :obj:`(1.0, None)`)

    Returns:
        The best result, its model, and all results.
    """
    results, best = [], None
    models = [model] if isinstance(model, nn.Module) else model
    configs = [replace(config, lr=lr, clip=clip) for lr, clip in product(lrs, clips)]
    runs = [*product(models, configs)]
    for start, config in tqdm(runs, "fine-tuning", leave=False, disable=None):
        copied = copy.deepcopy(start)
        result = finetune(copied, images, config)
        results.append(result)
        if best is None or result.val > best[0].val:
            best = result, copied
    if best is None:
        raise ConfigError("There is nothing to choose from: give at least one learning rate.")
    return *best, results


def compare(
    build: Callable[[], nn.Module],
    inits: Sequence[str | Path | GHN],
    images: ImageData,
    config: FinetuneConfig,
    lrs: Sequence[float],
    seeds: Sequence[int] = (0,),
) -> Iterator[Comparison]:
    r"""Fine-tunes one architecture from several starts, each with its better learning rate and
    bound of the gradient's norm, :obj:`config.clip` or none, by accuracy on validation images.

    Args:
        build (callable): Makes the model with a random initialization of its own.
        inits (sequence): The starts, see :func:`start_model`. Of a GHN's name and :obj:`":best"`
            the better of the whole prediction and its norms alone is taken, by the same accuracy.
        images (ImageData): The images.
        config (FinetuneConfig): Everything else.
        lrs (sequence): The learning rates to choose from.
        seeds (sequence, optional): Seeds of random initializations and of the order of images, the
            same for all starts. (default: :obj:`(0,)`)

    Yields:
        For each seed and start what it reached.
    """
    for seed, init in product(seeds, inits):
        name, parts = parse_start(init)
        models = []
        for part in parts:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                models.append(start_model(build(), name, images, seed, **part))
        clips = dict.fromkeys((config.clip, None))
        result, trained, _ = search(models, images, replace(config, seed=seed), lrs, clips)
        yield Comparison(str(init), seed, result, trained)


@dataclass
class Comparison:
    """What the better settings of a start reached: the best of its runs, and the trained model."""

    init: str
    seed: int
    result: FinetuneResult
    model: nn.Module

    def __str__(self) -> str:
        curve = "  ".join(f"{100 * point['test']:6.1f}" for point in self.result.curve)
        clip = self.result.config.clip or "none"
        return f"{self.init:<16} {self.seed:>4} {self.result.config.lr:>8} {clip:>6}  {curve}"

    def header(self) -> str:
        r"""The head of a table whose rows are comparisons: accuracies on test images in %."""
        steps = "  ".join(f"{point['step']:>6}" for point in self.result.curve)
        return f"{'start':<16} {'seed':>4} {'lr':>8} {'clip':>6}  {steps}"

    def to_dict(self) -> dict[str, Any]:
        r"""All but the model, as JSON can hold it."""
        return {"init": self.init, "seed": self.seed, **asdict(self.result)}
