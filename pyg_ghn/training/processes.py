r"""The processes of a run: how they start, join, share a GHN too large for one of them, and end."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from types import FrameType
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import is_fp8_available
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.fsdp import fully_shard
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from pyg_ghn.errors import ConfigError, GHNError
from pyg_ghn.training.config import TrainConfig

_RANKS = ("LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def spawn(run: Callable[[TrainConfig], Any], config: TrainConfig) -> Any:
    """Starts the data-parallel processes of a run on this machine; returns what the first found."""
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config.processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="pyg_ghn",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        return elastic_launch(settings, _call)(run, config)[0]
    except SignalException as error:
        end_by(int(error.sigval))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise GHNError(f"Process {rank} of the run failed: {failure.message}") from error


@record  # so that the message of an error reaches the one that started it
def _call(run: Callable[[TrainConfig], Any], config: TrainConfig) -> Any:
    return run(config)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Joins the processes of a run, as many as a launcher has started."""
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
        of_precision = f"mixed_precision={config.mixed_precision} can't be had"
        what = of_precision if "precision" in str(error) else "The processes can't be joined"
        raise ConfigError(f"{what}: {error}") from error
    plain = {k: v if isinstance(v, (int, float)) else str(v) for k, v in asdict(config).items()}
    accelerator.init_trackers("pyg_ghn", config=plain)
    return accelerator


def shard(ghn: nn.Module, device: torch.device, num_processes: int) -> None:
    r"""Divides the parameters of a GHN, before there is an optimizer of them, among all processes,
    in place, by :func:`torch.distributed.fsdp.fully_shard`. The layers in its module lists and its
    decoder, which have nearly all of them, are put together only while they compute."""
    if num_processes == 1:
        raise ConfigError(
            "shard divides a GHN among processes, and there is one: start several, with "
            "--processes 2 or torchrun."
        )
    mesh = init_device_mesh(device.type, (num_processes,))
    for name, child in ghn.named_children():
        for part in child if isinstance(child, nn.ModuleList) else [child] * (name == "decoder"):
            fully_shard(part, mesh=mesh)
    name = type(ghn).__name__
    fully_shard(ghn, mesh=mesh)
    type(ghn).__name__ = name  # of the class that fully_shard derived: what a checkpoint says


def whole(state: Any) -> Any:
    """Nested state with divided tensors put together on the CPU, for which all processes call
    it."""
    return tree_map_only(DTensor, lambda tensor: tensor.detach().full_tensor().cpu(), state)


def laid_out(tensor: Tensor, like: Any) -> Tensor:
    r"""A whole tensor, the same in all processes, divided as another one is, if that is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


class StopRequest:
    """The signal that asked a run to stop, 0 for none."""

    number: int = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        r"""Within the block SIGINT and SIGTERM are noted; the second one ends the run at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.number:
                end_by(number)
            self.number = number

        in_main_thread = threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
        before = [signal.signal(number, note) for number in caught]
        try:
            yield
        finally:
            for number, handler in zip(caught, before, strict=True):
                signal.signal(number, handler)


def end_by(number: int) -> NoReturn:
    r"""Raises what a signal stands for: the process ends with 130 or 143."""
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
