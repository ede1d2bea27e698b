r"""Everything that decides a meta-training run, in one place."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import inf

from pyg_ghn.architectures.splits import SPLITS
from pyg_ghn.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    r"""Configuration of :func:`~pyg_ghn.training.train`, also as YAML.

    Args:
        out (str): Folder of the run: configuration, log, checkpoints.
        images (str): Name of an image data set, see pyg_ghn.images.get_image_data.
        image_root (str, optional): Folder of the image data set.
        rotation (float): Largest rotation of a training image, in degrees.
        zoom (float): Largest change of its width and height, as a share.
        shift (float): Largest shift, as a share of its side.
        flip (bool): Whether half of the images are mirrored left to right.
        init (str, optional): GHN to begin with, a name or path, instead of a random one. It brings
            its own model, hidden_channels, num_layers, heads, edge_bias, centrality,
            input_distance and max_shape, and learns last layers anew for other numbers of classes.
        model (str): Which GHN: "ghn3", "ghn2", or "mlp", GHN-2 without message passing.
        hidden_channels (int): Hidden size d of the GHN.
        num_layers (int): Number of layers L of a GHN-3; an MLP takes the place of 0 layers.
        heads (int): Attention heads k of a GHN-3.
        edge_bias (str): Attention bias of a GHN-3: "both" for paths there and back, "forward", or
            "none", as it must be with 0 layers.
        centrality (bool): Whether a GHN-3 encodes the degrees of nodes.
        input_distance (bool): Whether a GHN-3 encodes the distances of nodes from the input.
        max_shape (tuple): Largest decoded tensor (out, in, size, size); out and in are d in the
            paper on GHN-3, and 2d or 4d in its ablations.
        split (str): Split of DeepNets-1M that architectures are drawn from.
        dataset_root (str, optional): Folder of a pyg_ghn.datasets.DeepNets1M to draw
            architectures from, instead of generating new ones all the time.
        dataset_source (str): Which of its networks: "official" or "generated".
        max_cells (int, optional): Only networks with at most this many cells.
        channels (list, optional): Initial widths C to draw from, multiples of 8; by default those
            of DeepNets-1M, which depend on the network.
        models (list, optional): Names of further networks to train on, as build_for_images takes
            them: torchvision's, timm:NAME or package.module:factory.
        model_share (float): Share of the networks that are drawn from models, if there are some.
        pool_size (int): Networks that are kept for reuse, in whole meta-batches.
        fresh (int): Networks of the meta-batch that were never used before; the others are drawn
            from the pool.
        meta_batch_size (int): Networks per step, over all processes.
        batch_size (int): Images per meta-batch, at least two; all of its networks see the same.
        steps (int, optional): Steps to train for.
        minutes (float, optional): Minutes to train for; the learning rate follows whichever of
            steps and minutes is further.
        lr (float): Peak learning rate of AdamW.
        weight_decay (float): Weight decay.
        warmup (float): Share of the run in which the learning rate rises.
        clip (float): Largest norm of the GHN's gradient.
        network_clip (float, optional): Largest norm of the gradient of one network's predicted
            parameters. A network without normalization can explode and would otherwise decide the
            step for all.
        gamma (float): Weight of the penalty on predicted parameters, eq. 10 of the paper on GHN-3.
        penalty (str): "norm" for the sum of their norms, "squared" for that of the squares, or
            "none".
        label_smoothing (float): Label smoothing of the cross-entropy.
        channels_last (bool): Whether the networks get their images with the channels last in
            memory, which changes nothing but the order of sums; on a CPU it takes a sixth off
            their time.
        mixed_precision (str): no, fp16, bf16 or fp8, as in accelerate.
        processes (int): Data-parallel processes to start on this machine.
        shard (bool): Whether parameters of the GHN, gradients and moments of the optimizer are
            divided among processes (FSDP), for GHNs that one device has no memory for.
        threads (int, optional): Torch threads per process.
        log_every (int): Steps between lines of the log.
        save_every (int): Steps between checkpoints.
        seed (int): Seed of the GHN, the architectures and the images.
        allow_changes (bool): Whether a run that goes on from its checkpoint may have another seed,
            lr, batch_size or meta_batch_size than before.
        image_size (int, optional): Height and width that images are scaled or padded to, by default
            those of the image data set, 32 for image_folder.
        val_every (int): Steps between validations: the accuracy of predictions for a few networks
            of the split val on validation images.
        val_steps (int): Steps of SGD from these predictions after which their accuracy is logged,
            too, with the learning rate 0.02 and the gradient clipped at 1; 0 for none.
        ema (float): Decay per step of an average of the GHN's parameters, 0.999 for example, which
            is then what is written; 0 for none. Early in the run less of the past is kept.
        accumulate (int): Meta-batches per step of the optimizer, each with networks and images of
            its own.
        tracker (str, optional): Where log lines go beside the file, "tensorboard" or "wandb", if
            it is installed.

    Raises:
        ConfigError: If an option does not make sense, by itself or beside the others.
    """

    out: str = "runs/ghn"
    images: str = "digits"
    image_root: str | None = None
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip: bool = False
    init: str | None = None
    model: str = "ghn3"
    hidden_channels: int = 64
    num_layers: int = 3
    heads: int = 8
    edge_bias: str = "both"
    centrality: bool = True
    input_distance: bool = True
    max_shape: tuple[int, int, int, int] = (64, 64, 11, 11)
    split: str = "train"
    dataset_root: str | None = None
    dataset_source: str = "official"
    max_cells: int | None = None
    channels: list[int] | None = None
    models: list[str] | None = None
    model_share: float = 0.25
    pool_size: int = 256
    fresh: int = 1
    meta_batch_size: int = 8
    batch_size: int = 128
    steps: int | None = None
    minutes: float | None = None
    lr: float = 4e-4
    weight_decay: float = 1e-2
    warmup: float = 0.01
    clip: float = 5.0
    network_clip: float | None = None
    gamma: float = 3e-5
    penalty: str = "norm"
    label_smoothing: float = 0.0
    channels_last: bool = True
    mixed_precision: str = "no"
    processes: int = 1
    shard: bool = False
    threads: int | None = None
    log_every: int = 50
    save_every: int = 100
    seed: int = 0
    allow_changes: bool = False
    image_size: int | None = None
    val_every: int = 50
    val_steps: int = 0
    ema: float = 0.0
    accumulate: int = 1
    tracker: str | None = None

    def __post_init__(self) -> None:
        _check_each(self)
        try:
            for valid, message in self._conditions():
                if not valid:
                    raise ConfigError(message)
        except TypeError as error:
            raise ConfigError(f"An option is of another type than it must be: {error}.") from error

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        yield (
            self.steps is not None or self.minutes is not None,
            "Say how long to train: set steps, minutes or both.",
        )
        yield (
            0 <= self.seed < 2**32,
            f"seed must be from 0 to 2**32 - 1, got {self.seed}.",
        )
        yield (
            self.hidden_channels % 4 == 0
            and (self.model != "ghn3" or self.hidden_channels % self.heads == 0),
            "hidden_channels must be a multiple of 4 and of heads, got "
            f"hidden_channels={self.hidden_channels}, heads={self.heads}.",
        )
        size = tuple(self.max_shape)
        yield (
            len(size) == 4 and min(size) > 0 and size[2] == size[3],
            f"max_shape must be (out, in, size, size) of the largest decoded tensor, got {size}.",
        )
        yield (
            self.dataset_root is None or self.split in ("train", "search"),
            f"dataset_root goes with the split 'train' or 'search', not {self.split!r}: GHNs are "
            "evaluated on the networks of the others.",
        )
        least, _ = SPLITS[self.split].layers
        yield (
            self.max_cells is None or self.max_cells >= least,
            f"max_cells={self.max_cells} leaves no network: those of the split {self.split!r} have "
            f"{least} cells or more.",
        )
        yield (
            self.meta_batch_size % self.processes == 0,
            f"meta_batch_size={self.meta_batch_size} networks can't be shared evenly by "
            f"{self.processes} processes.",
        )
        yield (
            0 <= self.fresh <= self.meta_batch_size,
            f"fresh={self.fresh} must lie between 0 and the {self.meta_batch_size} networks of the "
            "meta-batch.",
        )


@dataclass(frozen=True)
class FinetuneConfig:
    r"""Configuration of :func:`finetune`.

    Args:
        steps (int): Steps of the optimizer.
        batch_size (int): Images per step.
        optimizer (str): "sgd", with momentum, or "adamw".
        lr (float): Peak learning rate.
        momentum (float): Momentum of SGD.
        weight_decay (float): Weight decay.
        schedule (str): "cosine" to zero, "step" to a tenth after each third, or "constant".
        clip (float, optional): Largest norm of the gradient. Predicted kernels are small and what
            normalizes them makes their gradients large: without it the first steps overshoot.
        label_smoothing (float): Label smoothing of the cross-entropy.
        rotation (float): Largest rotation of an image, in degrees.
        zoom (float): Largest change of its width and height, as a share.
        shift (float): Largest shift, as a share of its side.
        flip (bool): Whether half of the images are mirrored left to right.
        evaluate_at (list, optional): Steps after which to evaluate, beside the first and last.
        seed (int): Seed of the order of images and of dropout.

    Raises:
        ConfigError: If an option does not make sense.
    """

    steps: int = 200
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.04
    momentum: float = 0.9
    weight_decay: float = 3e-5
    schedule: str = "cosine"
    clip: float | None = 1.0
    label_smoothing: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip: bool = False
    evaluate_at: list[int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_each(self)
        steps = self.evaluate_at or ()
        if isinstance(steps, (str, int)) or not all(s in range(1, self.steps + 1) for s in steps):
            raise ConfigError(
                f"evaluate_at must be a list of steps from 1 to {self.steps}, got {steps!r}."
            )


def _check_each(config: TrainConfig | FinetuneConfig) -> None:
    """Refuses options that make no sense by themselves."""
    for option in fields(config):
        if getattr(config, option.name) is None and "None" not in str(option.type):
            raise ConfigError(f"{option.name} must have a value.")
    for names, valid, condition in _RANGES:
        for name in names.split():
            value = getattr(config, name, None)
            try:
                fits = value is None or valid(value)
            except TypeError:  # text for a number, a number for a list
                fits = False
            if not fits:
                raise ConfigError(f"{name} must be {condition}, got {value!r}.")
    for name, choices in _CHOICES.items():
        if (value := getattr(config, name, choices[0])) not in choices:
            known = ", ".join(filter(None, choices))
            raise ConfigError(f"{name} must be one of {known}, got {value!r}.")


_RANGES = (
    (
        "pool_size meta_batch_size steps log_every save_every val_every accumulate",
        lambda value: 1 <= value < 2**63,
        "1 or more",
    ),
    ("processes threads", lambda value: 1 <= value <= 1024, "from 1 to 1024"),
    ("num_layers", lambda value: 0 <= value <= 1024, "from 0 to 1024"),
    ("val_steps", lambda value: 0 <= value < 2**63, "0 or more"),
    ("hidden_channels heads", lambda value: 1 <= value <= 2**14, "from 1 to 16384"),
    ("image_size", lambda value: 1 <= value <= 4096, "from 1 to 4096"),
    # BatchNorm makes its statistics of two images or more.
    ("batch_size", lambda value: 2 <= value <= 2**16, "from 2 to 65536"),
    ("weight_decay gamma", lambda value: 0 <= value < inf, "0 or more"),
    ("minutes lr clip network_clip", lambda value: 0 < value < inf, "more than 0"),
    ("rotation", lambda value: 0 <= value <= 180, "from 0 to 180 degrees"),
    (
        "warmup label_smoothing zoom shift ema momentum model_share",
        lambda value: 0 <= value < 1,
        "0 or more and less than 1",
    ),
    (
        "models",
        lambda value: len(value) > 0 and not isinstance(value, str),
        "a list of names",
    ),
    (
        "channels",
        lambda value: len(value) > 0 and all(C > 0 and C % 8 == 0 for C in value),
        "a list of positive multiples of 8, as networks with attention need them",
    ),
)
_CHOICES = {
    "model": ("ghn3", "ghn2", "mlp"),
    "edge_bias": ("both", "forward", "none"),
    "penalty": ("norm", "squared", "none"),
    "split": tuple(SPLITS),
    "dataset_source": ("official", "generated"),
    "mixed_precision": ("no", "fp16", "bf16", "fp8"),
    "tracker": (None, "tensorboard", "wandb"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "step", "constant"),
}
