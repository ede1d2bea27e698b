r"""Meta-training of a GHN."""

import copy
import json
import math
import os
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from signal import SIGTERM

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch_geometric.data import Batch

from pyg_ghn._files import sweep
from pyg_ghn._version import versions
from pyg_ghn.checkpoint import save_pretrained
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import CheckpointError, DivergedError, expect
from pyg_ghn.images import Augmentation, get_image_data
from pyg_ghn.nn import GHN
from pyg_ghn.training.config import TrainConfig
from pyg_ghn.training.log import Display, RunLog
from pyg_ghn.training.loss import meta_loss
from pyg_ghn.training.make import make_ghn, options_of
from pyg_ghn.training.processes import (
    StopRequest,
    end_by,
    make_accelerator,
    shard,
    spawn,
    whole,
)
from pyg_ghn.training.resume import load_last, restore, write_state
from pyg_ghn.training.stream import NetworkStream, TrainingNetwork, Validation

MAX_SKIPPED_STEPS = 20


def train(config: TrainConfig, ghn: GHN | None = None) -> Path:
    r"""Meta-trains a GHN, as in Section 5 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper.

    A run that was interrupted goes on from its last checkpoint when it is started again with the
    same :obj:`config.out`. SIGINT and SIGTERM let it finish its step and write a checkpoint; then
    it ends with a :class:`KeyboardInterrupt` or the exit status 143. Under :obj:`torchrun` or
    :obj:`accelerate launch` every process takes its share of the meta-batch, and the losses are
    those of a single process; see :func:`launch` to start processes from here.

    Args:
        config (TrainConfig): The configuration.
        ghn (GHN, optional): The GHN to train, also of a class of one's own, instead of the one that
            the configuration describes. Each process has to make its own. A class that
            :func:`~pyg_ghn.checkpoint.from_pretrained` does not know is loaded by
            :func:`safetensors.torch.load_model`. (default: :obj:`None`)

    Returns:
        The written GHN, ``<out>/model.safetensors``. Beside it lie ``training.json``, ``log.jsonl``
        and ``checkpoint.pt``, with the one before it as ``checkpoint.previous.pt``.

    Raises:
        DivergedError: If the loss was not finite for 20 steps in a row.
        CheckpointError: If the folder's checkpoints are damaged or those of another run, or can't
            be written.
        ConfigError: If options don't fit, the tracker is not installed, or a launcher started one
            process for several.
    """
    expect(config, TrainConfig, "config", ": pass TrainConfig(...)")
    if config.threads:
        torch.set_num_threads(config.threads)
    trainer = MetaTrainer(config, ghn)
    with trainer.stop.listening():
        trainer.resume()
        return trainer.fit()


def launch(config: TrainConfig) -> Path:
    r"""Runs :func:`train` in :obj:`config.processes` processes of this machine.

    For a single process, or inside one that :obj:`torchrun` or :obj:`accelerate launch` has
    started, it trains right here.

    Args:
        config (TrainConfig): The configuration.

    Returns:
        The written GHN.

    Raises:
        GHNError: If a process failed, with its message.
    """
    here = config.processes == 1 or "LOCAL_RANK" in os.environ
    return train(config) if here else spawn(train, config)


class MetaTrainer:
    r"""One process of a meta-training run.

    Args:
        config (TrainConfig): The configuration.
        ghn (GHN, optional): See :func:`train`. (default: :obj:`None`)

    Raises:
        ConfigError: If the configuration's GHN can't be made, or the one given is for another
            number of classes.
    """

    def __init__(self, config: TrainConfig, ghn: GHN | None = None):
        self.config = config
        self.out = Path(config.out)
        self.accelerator = make_accelerator(config)
        self.images = get_image_data(config.images, config.image_root, image_size=config.image_size)
        self.augment = Augmentation(config.rotation, config.zoom, config.shift, config.flip)
        set_seed(config.seed)
        device, rank = self.accelerator.device, self.accelerator.process_index
        sizes = self.images.num_classes, self.images.input_size
        ghn = make_ghn(config, self.images.num_classes, device, ghn)
        self.config = config = replace(config, **options_of(ghn))
        self.average = copy.deepcopy(ghn).requires_grad_(False) if config.ema else None
        if config.shard:
            for part in filter(None, (ghn, self.average)):
                shard(part, device, self.accelerator.num_processes)
        self.ghn = ghn if config.shard else self.accelerator.prepare(ghn)
        self.optimizer = self.accelerator.prepare(
            torch.optim.AdamW(ghn.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        )
        dataset = None
        if config.dataset_root is not None:
            given = {"source": config.dataset_source}
            given |= {"num_classes": sizes[0], "input_size": sizes[1]}
            with self.accelerator.main_process_first():  # which makes what is missing
                dataset = DeepNets1M(config.dataset_root, config.split, **given)
        config = replace(config, processes=self.accelerator.num_processes)  # as torchrun says
        self.stream = NetworkStream(config, ghn.transform, *sizes, dataset, rank, device)
        self._validation: Validation | None = None  # until it is needed
        self.log = RunLog(self.out, self.accelerator.is_main_process, self.accelerator.log)
        self.steps_done, self.seconds_done, self.skipped_in_a_row = 0, 0.0, 0
        self.stop = StopRequest()

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        steps = self.steps_done / self.config.steps if self.config.steps else 0.0
        minutes = self.seconds_done / 60 / self.config.minutes if self.config.minutes else 0.0
        return min(1.0, max(steps, minutes))

    def fit(self) -> Path:
        """Trains to the end and returns the written GHN."""
        config = self.config
        if self.progress < 1:  # else the file tells of the steps that were done
            self.log.write_config({**asdict(config), "versions": versions()})
        shown = self.accelerator.is_local_main_process
        display = Display(config, self.steps_done, self.seconds_done, self.progress, shown)
        with ExitStack() as stack:
            stack.enter_context(display.bar)
            for tracker in self.accelerator.trackers:
                stack.callback(tracker.finish)
            while self.progress < 1:
                start = time.perf_counter()
                self.log.add(**self.step())
                if (self.steps_done + 1) % config.val_every == 0:
                    self.log.add(**self.validate())
                self._advance(time.perf_counter() - start)
                if self.stop.number:
                    self.save()
                    display.say(
                        f"Stopped after step {self.steps_done:,}; {self.out}/checkpoint.pt has it: "
                        "a run with the same `out` and options goes on from there."
                    )
                    end_by(self.stop.number)
                display.step(self.steps_done, self.seconds_done, self.progress)
                if self.steps_done % config.log_every == 0 or self.progress >= 1:
                    at = {"step": self.steps_done, "lr": self._lr(), "seconds": self.seconds_done}
                    display.show(self.log.flush(self.accelerator.reduce, **at))
                if self.steps_done % config.save_every == 0 or self.progress >= 1:
                    self.save()
        return self.out / "model.safetensors"

    def validate(self) -> dict[str, Tensor]:
        """The sums that the log gets of the accuracy for validation networks and images."""
        if self._validation is None:
            self._validation = Validation(self.stream, self.images, self.accelerator.device)
        with self.accelerator.autocast():
            sums = self._validation(self._written())
        if self.config.shard:  # else what no backward pass follows stays whole
            self._written().reshard()
        return sums

    def step(self) -> dict[str, Tensor]:
        """One optimizer step over its meta-batches; returns the sums that the log gets."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        count, found = self.config.accumulate, []
        for number in range(self.steps_done * count, (self.steps_done + 1) * count):
            last = (number + 1) % count == 0
            # Processes add up their gradients once per step.
            with nullcontext() if last else self.accelerator.no_sync(self.ghn):
                found += self._meta_batch(number)
        networks, losses, accuracies = zip(*found, strict=True)
        losses = torch.stack(losses)
        finite = losses.isfinite()
        return {
            "loss": torch.where(finite, losses, 0).sum(),
            "accuracy": torch.stack(accuracies).sum(),
            "grad_norm": self._update(finite, networks),
            "networks": finite.sum(),
            "skipped_networks": (~finite).sum(),
        }

    def _meta_batch(self, number: int) -> list[tuple[TrainingNetwork, Tensor, Tensor]]:
        """Adds the gradients of one meta-batch to the GHN's; returns its networks, each with its
        loss and accuracy."""
        drawn = self.stream.meta_batch(number)
        self._seed(number, 0)
        device = self.accelerator.device
        images, labels = self.images.train.sample(self.config.batch_size, device=device)
        images = self.augment(images)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            predictions = self.ghn(Batch.from_data_list([n.data for n in drawn]))
        found, gradients = [], []
        for i, (network, params) in enumerate(zip(drawn, predictions, strict=True)):
            self._seed(number, 1 + self.stream.place(i))
            loss, accuracy, gradient = self._loss_and_gradient(network, params, images, labels)
            found.append((network, loss, accuracy))
            gradients.append(gradient)
        # From the predicted parameters on into the GHN. A skipped network counts as zero: all
        # processes must come here, or their gradient sums wait for each other for ever.
        finite = torch.stack([loss for _, loss, _ in found]).isfinite()
        torch.autograd.backward(
            [p for params in predictions for p in params.values()],
            [
                torch.where(ok, g, 0) / (len(drawn) * self.config.accumulate)
                for ok, per_network in zip(finite, gradients, strict=True)
                for g in per_network
            ],
        )
        return found

    def _loss_and_gradient(
        self, network: TrainingNetwork, params: dict[str, Tensor], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Back-propagates one network only, so that memory holds one network's activations. The
        loss is NaN where the loss or its gradient is not finite."""
        config = self.config
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        how = config.gamma, config.label_smoothing, config.penalty
        with self.accelerator.autocast():
            loss, accuracy = meta_loss(network.model, leaves, images, labels, *how)
        gradient = torch.autograd.grad(
            self._scaled(loss), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        loss, norm = loss.detach(), get_total_norm(gradient)
        if self.accelerator.scaler is None:  # else the loss scale may be to blame, and backs off
            loss = torch.where(norm.isfinite(), loss, torch.nan)
        if config.network_clip is not None:
            shrink = (self._scaled(loss.new_full((), config.network_clip)) / norm).clamp(max=1)
            gradient = [g * shrink for g in gradient]
        return loss, accuracy, list(gradient)

    def _scaled(self, loss: Tensor) -> Tensor:
        scaler = self.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    def _update(self, finite: Tensor, networks: list[TrainingNetwork]) -> Tensor:
        norm = whole(self.accelerator.clip_grad_norm_(self.ghn.parameters(), self.config.clip))
        any_finite = self.accelerator.reduce(finite.any().float(), reduction="sum") > 0
        has_step = bool(any_finite & (norm.isfinite() | (self.accelerator.scaler is not None)))
        if has_step:
            self.optimizer.step()  # a loss scaler decides by itself whether to skip
            has_step = not self.accelerator.optimizer_step_was_skipped
        elif self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self.skipped_in_a_row = 0 if has_step else self.skipped_in_a_row + 1
        self.optimizer.zero_grad()
        if self.average is not None and has_step:
            # The past counts less while the run is young: its first parameters are random.
            decay = min(self.config.ema, (1 + self.steps_done) / (10 + self.steps_done))
            torch._foreach_lerp_(
                list(self.average.parameters()),
                [p.detach() for p in self.accelerator.unwrap_model(self.ghn).parameters()],
                1 - decay,
            )
        if self.skipped_in_a_row >= MAX_SKIPPED_STEPS:
            genotypes = "\n".join(json.dumps(n.net_args) for n in networks)
            raise DivergedError(
                f"The loss or its gradient was not finite in {MAX_SKIPPED_STEPS} steps in a row, "
                f"the last at step {self.steps_done}. Lower lr or clip, or go on from the last "
                f"checkpoint in {self.out}. The architectures of the last step were:\n{genotypes}"
            )
        return norm

    def _advance(self, seconds: float) -> None:
        """Counts the step; all processes agree on the time and on signals: all stop together."""
        if self.accelerator.num_processes > 1:
            both = torch.tensor(
                [seconds / self.accelerator.num_processes, self.stop.number],
                device=self.accelerator.device,
            )
            seconds, signals = self.accelerator.reduce(both, reduction="sum").tolist()
            self.stop.number = self.stop.number or (SIGTERM if signals else 0)
        self.seconds_done += seconds
        self.steps_done += 1

    def _lr(self) -> float:
        """Linear warm-up, then half a cosine to zero."""
        progress, warmup = self.progress, self.config.warmup
        if progress < warmup:
            return self.config.lr * max(progress / warmup, 0.01)
        cosine = math.cos(math.pi * (progress - warmup) / (1 - warmup))
        return self.config.lr * 0.5 * (1 + cosine)

    def _seed(self, number: int, place: int) -> None:
        """Images and dropout are functions of the seed, the meta-batch and the network's place in
        it: a resumed run sees the same, and so do any number of processes together."""
        key = (self.config.seed, 2, number, place)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def _written(self) -> GHN:
        """The GHN that others get: the average, if there is one."""
        return self.accelerator.unwrap_model(self.ghn) if self.average is None else self.average

    def save(self) -> None:
        """Writes the GHN and all that a later run needs to go on."""
        self.accelerator.wait_for_everyone()
        ghn = self.accelerator.unwrap_model(self.ghn)
        state_dict, optimizer = whole((ghn.state_dict(), self.optimizer.state_dict()))
        average = {} if self.average is None else whole(self.average.state_dict())
        if not self.accelerator.is_main_process:
            return
        training = {**asdict(self.config), "steps_done": self.steps_done}
        metadata = {"training": json.dumps(training), **versions()}
        state = {
            "state_dict": state_dict,
            "config": ghn.config,
            "training": asdict(self.config),
            "optimizer": optimizer,
            "scaler": self.accelerator.scaler and self.accelerator.scaler.state_dict(),
            "steps_done": self.steps_done,
            "seconds_done": self.seconds_done,
            "log": self.log.pending(),
            "average": average,
        }
        # The GHN first: after a kill in between, the run repeats what led to it.
        save_pretrained(ghn, self.out / "model.safetensors", metadata, average or state_dict)
        write_state(state, self.out)

    def resume(self) -> None:
        """Goes on from the last checkpoint in the run's folder, or with a warning from the one
        before it where that is damaged.

        Raises:
            CheckpointError: If there are checkpoints, but none that can be used.
            ConfigError: If the run began with options that may not change.
        """
        if self.accelerator.is_main_process:
            sweep(self.out)
        passed_over = load_last(self.out, self._load)
        steps = torch.tensor([self.steps_done], device=self.accelerator.device)
        if len(set(self.accelerator.gather(steps).tolist())) > 1:
            raise CheckpointError(
                f"Not all processes found the same checkpoint in {self.out}: `out` must be a "
                "folder that all machines share."
            )
        if passed_over is not None and self.accelerator.is_main_process:
            # Out of the way, or the next save would keep it instead of the good one.
            passed_over.replace(self.out / "checkpoint.damaged.pt")
        self.log.trim(self.steps_done)

    def _load(self, path: Path) -> None:
        ghn, scaler = self.accelerator.unwrap_model(self.ghn), self.accelerator.scaler
        state = restore(path, self.config, ghn, self.average, self.optimizer, scaler)
        self.log.restore(state.get("log", {}))
        self.steps_done, self.seconds_done = state["steps_done"], state["seconds_done"]
