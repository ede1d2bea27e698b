"""Runs that were stopped, killed or damaged."""

import io
import json
import math
import os
import signal
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import CheckpointError, ConfigError, GHNError
from pyg_ghn.training import MetaTrainer, TrainConfig, train
from pyg_ghn.training.resume import read_state


def read_log(config):
    lines = (Path(config.out) / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def saved(value):
    torch.save(value, buffer := io.BytesIO())
    return buffer.getvalue()


def loaded(data):
    return torch.load(io.BytesIO(data))


def updated(data, **parts):
    """The checkpoint with other parts; None takes one out."""
    state = loaded(data) | parts
    return saved({key: value for key, value in state.items() if value is not None})


def changed(data, part, change):
    state = loaded(data)
    change(state[part])
    return saved(state)


def moments(**values):
    def change(optimizer):
        for name, value in values.items():
            optimizer["state"][0][name].fill_(value)

    return change


def whole_numbers(state):
    state.update({name: tensor.int() for name, tensor in state.items()})


DAMAGES = {
    "text": lambda good: b"hello",
    "cut": lambda good: good[:1000],
    "list": lambda good: saved([1]),
    "another program's": lambda good: saved({"epoch": 1, "model": {}}),
    "no optimizer": lambda good: updated(good, optimizer=None),
    "no steps": lambda good: updated(good, steps_done=None),
    "steps a string": lambda good: updated(good, steps_done="x"),
    "empty state_dict": lambda good: updated(good, state_dict={}),
    "no groups": lambda good: updated(good, optimizer={"state": {}, "param_groups": []}),
    "many steps": lambda good: updated(good, steps_done=2**70),
    "many seconds": lambda good: updated(good, seconds_done=10**400),
    "nan": lambda good: changed(good, "state_dict", lambda p: next(iter(p.values())).fill_(nan)),
    "whole numbers": lambda good: changed(good, "state_dict", whole_numbers),
    "moments nan": lambda good: changed(good, "optimizer", moments(exp_avg=nan)),
    "moments below 0": lambda good: changed(good, "optimizer", moments(exp_avg_sq=-1)),
    "moments of no step": lambda good: changed(good, "optimizer", moments(step=nan)),
    "average nan": lambda good: updated(good, average={"x": torch.tensor([nan])}),
    "seed a tensor": lambda good: changed(good, "training", lambda t: t.update(seed=torch.ones(2))),
    "size a tensor": lambda good: changed(good, "config", lambda c: c.update(heads=torch.ones(2))),
    "sums out of shape": lambda good: updated(good, log={"loss": torch.ones(2, 2)}),
    "steps below 0": lambda good: changed(good, "optimizer", moments(step=-1)),
    "a moment without shape": lambda good: changed(
        good, "optimizer", lambda o: o["state"][0].update(exp_avg=torch.tensor(0.0))
    ),
    "moments of no parameter": lambda good: changed(
        good, "optimizer", lambda o: o["state"].update({999: o["state"][0]})
    ),
    "a moment missing": lambda good: changed(
        good, "optimizer", lambda optimizer: optimizer["state"][0].pop("exp_avg")
    ),
}


@pytest.fixture(scope="module")
def last_checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    small = {"hidden_channels": 16, "num_layers": 1, "heads": 4, "max_shape": (16, 16, 7, 7)}
    networks = {"max_cells": 5, "channels": [8], "pool_size": 4, "meta_batch_size": 2}
    train(TrainConfig(out=str(out), **small, **networks, batch_size=16, steps=1, lr=1e-3))
    return (out / "checkpoint.pt").read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_or_foreign_checkpoint(damage, small_config, last_checkpoint):
    config = small_config()
    checkpoint = Path(config.out) / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(DAMAGES[damage](last_checkpoint))
    with pytest.raises(CheckpointError, match=r"checkpoint.pt is damaged.*anew"):
        train(config)
    assert checkpoint.read_bytes() == DAMAGES[damage](last_checkpoint)


def test_options_of_the_optimizer_are_those_of_the_run(small_config, last_checkpoint):
    config = small_config()
    Path(config.out).mkdir()
    options = {"lr": "x", "betas": (2, 3), "eps": nan, "weight_decay": math.inf}
    damaged = changed(last_checkpoint, "optimizer", lambda o: o["param_groups"][0].update(options))
    (Path(config.out) / "checkpoint.pt").write_bytes(damaged)
    trainer = MetaTrainer(config)
    trainer.resume()
    (group,) = trainer.optimizer.param_groups
    assert group["weight_decay"] == config.weight_decay and group["betas"] == (0.9, 0.999)


def test_checkpoint_before_a_damaged_one_is_used(small_config):
    config = small_config()
    path = train(config)
    whole = from_pretrained(path).state_dict()
    (path.parent / "checkpoint.pt").write_bytes(b"hello")
    with pytest.warns(UserWarning, match="damaged.*Going on from .*checkpoint.previous.pt"):
        train(config)
    again = from_pretrained(path).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [line["step"] for line in read_log(config)] == [2, 4]


def test_log_has_every_step_once_after_a_kill(small_config):
    config = small_config(steps=3, log_every=1, save_every=3)
    train(config)
    folder = Path(config.out)
    with open(folder / "log.jsonl", "a") as log:
        log.write('{"step": 3}\n{"step": true}\n' + "[" * 100_000 + "\n")  # damaged
        log.write('{"step": 4, "loss": 2.3}\n{"step": 5, "lo')
    (folder / ".model.0123456789abcdef0123456789abcdef.pt").mkdir()  # no writer's
    (folder / ".checkpoint.0123456789abcdef0123456789abcdef.pt").write_bytes(b"left by a kill")
    train(replace(config, steps=5))
    assert [line["step"] for line in read_log(config)] == [1, 2, 3, 4, 5]
    assert not [path for path in folder.iterdir() if path.name.startswith(".c")]


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_state(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("name", ["training.json", "log.jsonl", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file(name, small_config):
    config = small_config(steps=2)
    (Path(config.out) / name).mkdir(parents=True)
    with pytest.raises(GHNError, match=f"Can't write .*{name}: .*Is a directory"):
        train(config)


@pytest.mark.parametrize(
    "number, options",
    [(signal.SIGINT, {}), (signal.SIGTERM, {"ema": 0.9, "accumulate": 2, "val_every": 1})],
)
def test_a_run_ended_by_a_signal_goes_on_as_if_it_had_not(
    number, options, small_config, monkeypatch, capsys
):
    step = MetaTrainer.step

    def interrupted(self):
        if self.steps_done == 2:
            signal.raise_signal(number)
        return step(self)

    config = small_config(save_every=100, **options)
    monkeypatch.setattr(MetaTrainer, "step", interrupted)
    before = signal.getsignal(number)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        train(config)
    assert caught.value.args == ((143,) if number == signal.SIGTERM else ())
    assert signal.getsignal(number) == before
    assert torch.load(Path(config.out) / "checkpoint.pt")["steps_done"] == 3
    assert f"Stopped after step 3; {config.out}/checkpoint.pt has it" in capsys.readouterr().err
    monkeypatch.setattr(MetaTrainer, "step", step)
    path = train(config)
    log = read_log(config)
    uninterrupted = replace(config, out=f"{config.out}-whole")
    whole = train(uninterrupted)
    a, b = from_pretrained(path).state_dict(), from_pretrained(whole).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    expected = read_log(uninterrupted)
    for name in ("step", "loss", "val_accuracy"):
        assert [line.get(name) for line in log] == [line.get(name) for line in expected]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"lr": 2e-3}, {"batch_size": 8}, {"meta_batch_size": 4}, {"accumulate": 2}],
)
def test_changes_that_decide_a_run_must_be_allowed(change, small_config):
    config = small_config(steps=1)
    train(config)
    changed = replace(config, steps=2, **change)
    with pytest.raises(ConfigError, match=rf"began with other options \({next(iter(change))} "):
        train(changed)
    with pytest.warns(UserWarning, match="goes on with other options"):
        train(replace(changed, allow_changes=True))


def test_folders_that_cannot_be_made_and_full_disks(small_config, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(GHNError, match="choose another `out`"):
        train(small_config(out=str(tmp_path / "file" / "run")))

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")

    config = small_config()
    monkeypatch.setattr("pyg_ghn.training.resume.torch.save", full)
    with pytest.raises(CheckpointError, match=r"Can't write .*checkpoint.pt"):
        train(config)
    assert not list(Path(config.out).glob("*.pt")) + list(Path(config.out).glob(".*"))
