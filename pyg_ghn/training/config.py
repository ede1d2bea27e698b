r"""Everything that decides a meta-training run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyg_ghn.errors import GHNError


@dataclass(frozen=True)
class TrainConfig:
    r"""Configuration of :func:`~pyg_ghn.training.train`, also as YAML.

    Args:
        out (str): Folder of the run: configuration, log, checkpoints.
        images (str): Name of an image data set, see :func:`pyg_ghn.images.get_image_data`.
        image_root (str, optional): Folder of the image data set. (default: :obj:`None`)
        hidden_channels (int): Hidden size :math:`d` of the GHN-3. (default: :obj:`64`)
        num_layers (int): Number of layers :math:`L`. (default: :obj:`3`)
        heads (int): Attention heads :math:`k`. (default: :obj:`8`)
        max_shape (tuple): Largest decoded tensor (out, in, height, width).
        split (str): Split of DeepNets-1M that architectures are drawn from.
            (default: :obj:`"train"`)
        max_cells (int, optional): Only networks with up to so many cells. (default: :obj:`None`)
        channels (list, optional): Initial widths :math:`C` to draw from; by default those of
            DeepNets-1M, which depend on the network. (default: :obj:`None`)
        pool_size (int): Networks that a process keeps for reuse. (default: :obj:`256`)
        fresh (int): Networks of a process's meta-batch that were never used before; the others are
            drawn from the pool. (default: :obj:`1`)
        meta_batch_size (int): Networks a step, over all processes. (default: :obj:`8`)
        batch_size (int): Images a step and process. (default: :obj:`128`)
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
        mixed_precision (str): As in :class:`accelerate.Accelerator`. (default: :obj:`"no"`)
        processes (int): Data-parallel processes to start on this machine. (default: :obj:`1`)
        threads (int, optional): Torch threads a process. (default: :obj:`None`)
        log_every (int): Steps between lines of the log. (default: :obj:`50`)
        save_every (int): Steps between checkpoints. (default: :obj:`500`)
        seed (int): Seed of the GHN, the architectures and the images. (default: :obj:`0`)
    """

    out: str = "runs/ghn"
    images: str = "digits"
    image_root: str | None = None
    hidden_channels: int = 64
    num_layers: int = 3
    heads: int = 8
    max_shape: tuple[int, int, int, int] = (64, 64, 11, 11)
    split: str = "train"
    max_cells: int | None = None
    channels: list[int] | None = field(default=None)
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
    mixed_precision: str = "no"
    processes: int = 1
    threads: int | None = None
    log_every: int = 50
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise GHNError("Say how long to train: set steps, minutes or both.")
        if self.meta_batch_size % self.processes:
            raise GHNError(
                f"meta_batch_size={self.meta_batch_size} networks can't be shared evenly by "
                f"{self.processes} processes."
            )
        if not 0 <= self.fresh <= self.meta_batch_size // self.processes:
            raise GHNError(
                f"fresh={self.fresh} must lie between 0 and the "
                f"{self.meta_batch_size // self.processes} networks of a process's meta-batch."
            )
