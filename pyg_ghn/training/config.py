r"""Everything that decides a meta-training run, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyg_ghn.architectures.splits import SPLITS
from pyg_ghn.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    r"""Configuration of :func:`~pyg_ghn.training.train`: the options of ``pyg-ghn train``, whose
    help shows what is written here.

    Args:
        out (str): Folder of the run: configuration, log, checkpoints.
        images (str): Name of an image data set: digits, fashion_mnist or image_folder.
        image_root (str, optional): Folder of the image data set.
        hidden_channels (int): Hidden size d of the GHN-3.
        num_layers (int): Number of layers L.
        heads (int): Attention heads k.
        max_shape (tuple): Largest decoded tensor (out, in, size, size).
        split (str): Split of DeepNets-1M that architectures are drawn from.
        dataset_root (str, optional): Folder of a DeepNets-1M data set to draw architectures from,
            instead of generating new ones all the time.
        dataset_source (str): Which of its networks: official or generated.
        max_cells (int, optional): Only networks with at most this many cells.
        channels (list, optional): Initial widths C to draw from, multiples of 8; by default those
            of DeepNets-1M, which depend on the network.
        pool_size (int): Networks that each process keeps for reuse.
        fresh (int): Networks of a process's meta-batch that were never used before; the others are
            drawn from the pool.
        meta_batch_size (int): Networks per step, over all processes.
        batch_size (int): Images per step and process, at least two.
        steps (int, optional): Steps to train for.
        minutes (float, optional): Minutes to train for; the learning rate follows whichever of
            steps and minutes is further.
        lr (float): Peak learning rate of AdamW.
        weight_decay (float): Weight decay.
        warmup (float): Share of the run in which the learning rate rises.
        clip (float): Largest norm of the GHN's gradient.
        network_clip (float, optional): Largest norm of the gradient of one network's predicted
            parameters. Without it, a network without normalization can explode and decide the step
            for all.
        gamma (float): Weight of the penalty on the norm of predicted parameters (eq. 10 of the
            GHN-3 paper).
        label_smoothing (float): Label smoothing of the cross-entropy.
        channels_last (bool): Whether images are laid out with the channels last in memory. It
            changes nothing but the order of sums; on a CPU networks take a sixth less time.
        mixed_precision (str): no, fp16, bf16 or fp8, as in accelerate.
        processes (int): Data-parallel processes to start on this machine.
        threads (int, optional): Torch threads per process.
        log_every (int): Steps between lines of the log.
        save_every (int): Steps between checkpoints.
        seed (int): Seed of the GHN, the architectures and the images.
        allow_changes (bool): Whether a run may go on from its checkpoint with another seed, lr,
            batch_size or meta_batch_size.

    Raises:
        ConfigError: If an option does not make sense, by itself or together with the others.
    """

    out: str = "runs/ghn"
    images: str = "digits"
    image_root: str | None = None
    hidden_channels: int = 64
    num_layers: int = 3
    heads: int = 8
    max_shape: tuple[int, int, int, int] = (64, 64, 11, 11)
    split: str = "train"
    dataset_root: str | None = None
    dataset_source: str = "official"
    max_cells: int | None = None
    channels: list[int] | None = None
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
    label_smoothing: float = 0.0
    channels_last: bool = True
    mixed_precision: str = "no"
    processes: int = 1
    threads: int | None = None
    log_every: int = 50
    save_every: int = 100
    seed: int = 0
    allow_changes: bool = False

    def __post_init__(self) -> None:
        for names, accepts, rule in _RULES:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not accepts(value):
                    raise ConfigError(f"{name} must be {rule}, got {value!r}.")
        if self.steps is None and self.minutes is None:
            raise ConfigError("Say how long to train: set steps, minutes or both.")
        if self.hidden_channels % 4 or self.hidden_channels % self.heads:
            raise ConfigError(
                "hidden_channels must be a multiple of 4 and of heads, got "
                f"hidden_channels={self.hidden_channels}, heads={self.heads}."
            )
        if self.dataset_root is not None and SPLITS[self.split].fixed_width:
            raise ConfigError(
                f"dataset_root goes with the split 'train' or 'search', not {self.split!r}: GHNs "
                "are evaluated on the networks of the others."
            )
        least = SPLITS[self.split].layers[0]
        if self.max_cells is not None and self.max_cells < least:
            raise ConfigError(
                f"max_cells={self.max_cells} leaves no network: those of the split {self.split!r} "
                f"have {least} cells or more."
            )
        if self.meta_batch_size % self.processes:
            raise ConfigError(
                f"meta_batch_size={self.meta_batch_size} networks can't be shared evenly by "
                f"{self.processes} processes."
            )
        if not 0 <= self.fresh <= self.share:
            raise ConfigError(
                f"fresh={self.fresh} must lie between 0 and the {self.share} networks of a "
                "process's meta-batch."
            )

    @property
    def share(self) -> int:
        """The number of networks in a process's part of a meta-batch."""
        return self.meta_batch_size // self.processes


def _one_of(*names):
    return lambda value: value in names, f"one of {', '.join(names)}"


def _at_least(least):
    return lambda value: value >= least, f"{least} or more"


_RULES = (
    (
        "num_layers heads hidden_channels pool_size meta_batch_size steps processes threads "
        "log_every save_every",
        *_at_least(1),
    ),
    ("batch_size", *_at_least(2)),  # BatchNorm makes its statistics of two images or more
    ("weight_decay gamma seed", *_at_least(0)),
    ("minutes lr clip network_clip", lambda v: v > 0 and math.isfinite(v), "more than 0"),
    ("warmup label_smoothing", lambda v: 0 <= v < 1, "0 or more and less than 1"),
    (
        "max_shape",
        lambda v: len(v) == 4 and min(v) > 0 and v[2] == v[3],
        "(out, in, size, size) of the largest decoded tensor",
    ),
    ("mixed_precision", *_one_of("no", "fp16", "bf16", "fp8")),
    ("split", *_one_of(*SPLITS)),
    ("dataset_source", *_one_of("official", "generated")),
    (
        "channels",
        lambda v: len(v) > 0 and all(C > 0 and C % 8 == 0 for C in v),
        "positive multiples of 8, as networks with attention need them",
    ),
)
r"""Names of options, the test of a value, and the rule in words."""
