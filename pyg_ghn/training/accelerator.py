r"""The accelerator of a run: its processes, its device and its tracker."""

from __future__ import annotations

import os
from dataclasses import asdict
from importlib.util import find_spec

import torch
from accelerate import Accelerator
from accelerate.utils import is_fp8_available

from pyg_ghn.errors import ConfigError
from pyg_ghn.training.config import TrainConfig

_RANKS = ("LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def make_accelerator(config: TrainConfig) -> Accelerator:
    r"""Joins the processes of a run, as many as a launcher has started.

    Args:
        config (TrainConfig): Says the precision and the tracker.

    Raises:
        ConfigError: If the tracker or what the precision needs is not installed, or the launcher
            was to start several processes and started one.
    """
    # What `accelerate launch --cpu --num_processes 2` leaves: the address at which several
    # processes would meet, but none of the variables in which torchrun or MPI number them.
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys() and not any(
        name in os.environ for name in _RANKS
    ):
        raise ConfigError(
            "`accelerate launch --cpu` starts a single process, whatever --num_processes says: "
            "start several with `pyg-ghn train --processes 2` or `torchrun --nproc_per_node 2`."
        )
    if config.tracker and not find_spec(config.tracker):
        raise ConfigError(
            f"The tracker {config.tracker} is not installed: pip install {config.tracker}, or "
            "leave out the option; all that it would show is in log.jsonl, too."
        )
    if config.mixed_precision == "fp8" and not is_fp8_available():
        raise ConfigError(
            "mixed_precision=fp8 needs transformer_engine or MS-AMP, and a GPU that has it: "
            "install one of them, or choose bf16."
        )
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            cpu=not torch.cuda.is_available(),
            log_with=config.tracker,
            project_dir=config.out,
        )
    except ValueError as error:  # a process keeps the precision of its first run
        raise ConfigError(
            f"mixed_precision={config.mixed_precision} can't be had: {error}"
        ) from error
    plain = {k: v if isinstance(v, (int, float)) else str(v) for k, v in asdict(config).items()}
    accelerator.init_trackers("pyg_ghn", config=plain)
    return accelerator
