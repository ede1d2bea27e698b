r"""Where the time of a meta-training step goes, beside the networks' own forward and backward."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from _measure import peak_memory, synchronize

from pyg_ghn.architectures import network_from_args
from pyg_ghn.training import TrainConfig, trainer
from pyg_ghn.training.stream import TrainingNetwork

IMAGE, CLASSES, BATCH = (3, 32, 32), 10, 32


def measure(meta_batch: int = 8, steps: int = 10, seed: int = 0, **options: Any) -> dict[str, Any]:
    r"""Seconds of the average step and of its parts; the GHN has the size T, images 32x32 pixels.
    Options go to :class:`~pyg_ghn.training.TrainConfig`."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            out=folder,
            steps=10**6,
            meta_batch_size=meta_batch,
            batch_size=BATCH,
            seed=seed,
            **{"pool_size": 64, **options},
        )
        runner = _random_images(trainer.MetaTrainer(config))
        for index in range(config.pool_size):
            runner.stream._network(index)  # as after many steps
        for _ in range(3):
            _step(runner)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        _own_seconds(_next_networks(runner), layout)
        spent, own, total = Counter(), 0.0, 0.0
        with peak_memory() as peak:
            for i in range(steps):
                networks = _next_networks(runner)
                # Who comes first has to prepare the convolutions of the step: they take turns.
                own += _own_seconds(networks, layout) if i % 2 else 0
                with _stopwatch(runner, spent):
                    total += _step(runner)
                own += 0 if i % 2 else _own_seconds(networks, layout)
            memory = peak()
    parts = {name: value / steps for name, value in spent.items()}
    total, own = total / steps, own / steps
    return {
        "meta_batch": meta_batch,
        "step_s": total,
        "own_s": own,
        "ghn_share": 1 - own / total,
        "peak_MB": memory,
        **parts,
        "rest": total - sum(parts.values()),
    }


def _random_images(runner: trainer.MetaTrainer) -> trainer.MetaTrainer:
    """The size of CIFAR-10, which has not to be there: no time depends on what is in the images."""

    class Images:
        def sample(self, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
            labels = torch.randint(CLASSES, (count,), device=device)
            return torch.randn(count, *IMAGE, device=device), labels

    runner.images = replace(runner.images, train=Images())
    runner.stream.input_size = IMAGE
    return runner


def _step(runner: trainer.MetaTrainer) -> float:
    start = time.perf_counter()
    runner.step()
    synchronize()
    taken = time.perf_counter() - start
    runner._advance(taken)
    return taken


def _next_networks(runner: trainer.MetaTrainer) -> list[TrainingNetwork]:
    """Those of the next step, of which the runner has still to build the fresh ones."""
    stream = copy(runner.stream)
    stream._pool = dict(stream._pool)
    return stream.meta_batch(runner.steps_done)


def _own_seconds(networks: list[TrainingNetwork], layout: torch.memory_format) -> float:
    """Forward and backward of networks with parameters of their own."""
    total = 0.0
    for network in networks:
        model = network_from_args(network.net_args, CLASSES, IMAGE, device=trainer_device())
        params = list(model.parameters())
        images = torch.randn(BATCH, *IMAGE, device=trainer_device())
        images = images.contiguous(memory_format=layout)
        labels = torch.randint(CLASSES, (BATCH,), device=trainer_device())
        synchronize()
        start = time.perf_counter()
        torch.autograd.grad(F.cross_entropy(model(images), labels), params, allow_unused=True)
        synchronize()
        total += time.perf_counter() - start
    return total


def trainer_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _stopwatch:
    """Times the parts of a step while it is active; each part is a function that the step calls."""

    def __init__(self, runner: trainer.MetaTrainer, spent: Counter):
        self.spent, self.runner = spent, runner
        self.places = [
            (runner.stream, "meta_batch", "graphs"),
            (runner.images.train, "sample", "images"),
            (runner, "ghn", "GHN forward"),
            (trainer, "meta_loss", "networks forward"),
            (torch.autograd, "grad", "networks backward"),
            (torch.autograd, "backward", "GHN backward"),
            (runner, "_update", "optimizer"),
        ]

    def __enter__(self) -> None:
        self.before = [getattr(owner, name) for owner, name, _ in self.places]
        for (owner, name, label), function in zip(self.places, self.before, strict=True):
            setattr(owner, name, _Timed(function, partial(self._add, label)))

    def __exit__(self, *error: Any) -> None:
        for (owner, name, _), function in zip(self.places, self.before, strict=True):
            setattr(owner, name, function)
        del self.runner.stream.meta_batch  # of the class again, also in copies

    def _add(self, label: str, taken: float) -> None:
        self.spent[label] += taken


class _Timed:
    def __init__(self, function: Callable, add: Callable[[float], None]):
        self.function, self.add = function, add

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        synchronize()
        start = time.perf_counter()
        out = self.function(*args, **kwargs)
        synchronize()
        self.add(time.perf_counter() - start)
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)
