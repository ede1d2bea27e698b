r"""Starts the data-parallel processes of a run on this machine."""

import os
from pathlib import Path
from signal import SIGINT

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pyg_ghn.errors import GHNError
from pyg_ghn.training.config import TrainConfig
from pyg_ghn.training.trainer import train


def launch(config: TrainConfig) -> Path:
    r"""Runs :func:`~pyg_ghn.training.train` in :obj:`config.processes` processes.

    Inside a process that :obj:`torchrun` or :obj:`accelerate launch` has started, or for a single
    process, it trains right here.

    Args:
        config (TrainConfig): The configuration.

    Returns:
        The written GHN.

    Raises:
        GHNError: If a process failed, with its message.
    """
    if config.processes == 1 or "LOCAL_RANK" in os.environ:
        return train(config)

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
        return elastic_launch(settings, _process)(config)[0]
    except SignalException as error:
        number = int(error.sigval)
        raise (KeyboardInterrupt if number == SIGINT else SystemExit(128 + number)) from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise GHNError(f"Process {rank} of the run failed: {failure.message}") from error


@record  # so that the message of an error reaches the launcher
def _process(config: TrainConfig) -> Path:
    return train(config)
