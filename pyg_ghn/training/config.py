r"""Everything that decides a meta-training run, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyg_ghn.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    r"""Configuration of :func:`~pyg_ghn.training.train`, also as YAML.

    Args:
        out (str): Folder of the run: configuration, log, checkpoints.
            (default: :obj:`"runs/ghn"`)
        images (str): Name of an image data set, see :func:`pyg_ghn.images.get_image_data`.
            (default: :obj:`"digits"`)
        image_root (str, optional): Folder of the image data set. (default: :obj:`None`)
        hidden_channels (int): Hidden size :math:`d` of the GHN-3. (default: :obj:`64`)
        num_layers (int): Number of layers :math:`L`. (default: :obj:`3`)
        heads (int): Attention heads :math:`k`. (default: :obj:`8`)
        max_shape (tuple): Largest decoded tensor (out, in, size, size).
            (default: :obj:`(64, 64, 11, 11)`)
        split (str): Split of DeepNets-1M that architectures are drawn from.
            (default: :obj:`"train"`)
        dataset_root (str, optional): Folder of a :class:`~pyg_ghn.datasets.DeepNets1M` to draw
            architectures from, instead of generating new ones all the time.
            (default: :obj:`None`)
        dataset_source (str): Which of its networks: :obj:`"official"` or :obj:`"generated"`.
            (default: :obj:`"official"`)
        max_cells (int, optional): Only networks with up to so many cells. (default: :obj:`None`)
        channels (list, optional): Initial widths :math:`C` to draw from, multiples of 8; by
            default those of DeepNets-1M, which depend on the network. (default: :obj:`None`)
        pool_size (int): Networks that a process keeps for reuse. (default: :obj:`256`)
        fresh (int): Networks of a process's meta-batch that were never used before; the others are
            drawn from the pool. (default: :obj:`1`)
        meta_batch_size (int): Networks a step, over all processes. (default: :obj:`8`)
        batch_size (int): Images a step and process, at least two. (default: :obj:`128`)
        steps (int, optional): Steps to train for. (default: :obj:`None`)
        minutes (float, optional): Time to train for; the learning rate follows whichever of steps
            and time is further. (default: :obj:`None`)
        lr (float): Peak learning rate of AdamW. (default: :obj:`4e-4`)
        weight_decay (float): Weight decay. (default: :obj:`1e-2`)
        warmup (float): Share of the run in which the learning rate rises. (default: :obj:`0.01`)
        clip (float): Largest norm of the GHN's gradient. (default: :obj:`5.0`)
        network_clip (float, optional): Largest norm of the gradient of one network's predicted
            parameters. A network without normalization can explode and would otherwise decide the
            step for all. (default: :obj:`None`)
        gamma (float): Weight :math:`\gamma` of the penalty of eq. 10. (default: :obj:`3e-5`)
        label_smoothing (float): Label smoothing of the cross-entropy. (default: :obj:`0.0`)
        channels_last (bool): Whether the networks get their images with the channels last in
            memory, which changes nothing but the order of sums; on a CPU it takes a sixth off
            their time. (default: :obj:`True`)
        mixed_precision (str): As in :class:`accelerate.Accelerator`. (default: :obj:`"no"`)
        processes (int): Data-parallel processes to start on this machine. (default: :obj:`1`)
        threads (int, optional): Torch threads a process. (default: :obj:`None`)
        log_every (int): Steps between lines of the log. (default: :obj:`50`)
        save_every (int): Steps between checkpoints. (default: :obj:`100`)
        seed (int): Seed of the GHN, the architectures and the images. (default: :obj:`0`)

    Raises:
        ConfigError: If an option does not make sense, by itself or beside the others.
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

    def __post_init__(self) -> None:
        for valid, message in self._conditions():
            if not valid:
                raise ConfigError(message)

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            yield value is None or value >= least, f"{name} must be {least} or more, got {value}."
        for name in ("minutes", "lr", "clip", "network_clip"):
            value = getattr(self, name)
            yield value is None or value > 0, f"{name} must be more than 0, got {value}."
        for name in ("warmup", "label_smoothing"):
            value = getattr(self, name)
            yield 0 <= value < 1, f"{name} must be 0 or more and less than 1, got {value}."
        yield (
            self.steps is not None or self.minutes is not None,
            "Say how long to train: set steps, minutes or both.",
        )
        yield (
            self.hidden_channels % 4 == 0 and self.hidden_channels % self.heads == 0,
            "hidden_channels must be a multiple of 4 and of heads, got "
            f"hidden_channels={self.hidden_channels}, heads={self.heads}.",
        )
        size = tuple(self.max_shape)
        yield (
            len(size) == 4 and min(size) > 0 and size[2] == size[3],
            f"max_shape must be (out, in, size, size) of the largest decoded tensor, got {size}.",
        )
        yield (
            self.mixed_precision in _PRECISIONS,
            f"mixed_precision must be one of {', '.join(_PRECISIONS)}, got "
            f"{self.mixed_precision!r}.",
        )
        yield from self._network_conditions()

    def _network_conditions(self) -> Iterator[tuple[bool, str]]:
        yield (
            self.split in LEAST_CELLS,
            f"split must be one of {', '.join(LEAST_CELLS)}, got {self.split!r}.",
        )
        yield (
            self.dataset_root is None or self.split in ("train", "search"),
            f"dataset_root goes with the split 'train' or 'search', not {self.split!r}: GHNs are "
            "evaluated on the networks of the others.",
        )
        yield (
            self.dataset_source in _SOURCES,
            f"dataset_source must be one of {', '.join(_SOURCES)}, got {self.dataset_source!r}.",
        )
        yield (
            self.max_cells is None or self.max_cells >= LEAST_CELLS[self.split],
            f"max_cells={self.max_cells} leaves no network: those of the split {self.split!r} have "
            f"{LEAST_CELLS.get(self.split)} cells or more.",
        )
        yield (
            self.channels is None
            or (len(self.channels) > 0 and all(C > 0 and C % 8 == 0 for C in self.channels)),
            "channels must be positive multiples of 8, as networks with attention need them, got "
            f"{self.channels}.",
        )
        yield (
            self.meta_batch_size % self.processes == 0,
            f"meta_batch_size={self.meta_batch_size} networks can't be shared evenly by "
            f"{self.processes} processes.",
        )
        share = self.meta_batch_size // self.processes
        yield (
            0 <= self.fresh <= share,
            f"fresh={self.fresh} must lie between 0 and the {share} networks of a process's "
            "meta-batch.",
        )


_LEAST = dict.fromkeys(
    ("num_layers", "heads", "hidden_channels", "pool_size", "meta_batch_size", "steps"), 1
)
_LEAST |= dict.fromkeys(("processes", "threads", "log_every", "save_every"), 1)
# BatchNorm makes its statistics of two images or more.
_LEAST |= {"batch_size": 2, "weight_decay": 0, "gamma": 0, "seed": 0}

_SOURCES = ("official", "generated")
_PRECISIONS = ("no", "fp16", "bf16", "fp8")

LEAST_CELLS = dict.fromkeys(("train", "val", "test", "wide", "dense", "bnfree"), 4)
LEAST_CELLS |= {"deep": 10, "search": 6}
r"""The splits and their smallest networks, as in :obj:`pyg_ghn.architectures.SPLITS`, whose import
would take seconds of each start of the command line."""
