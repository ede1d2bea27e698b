import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.cli import main
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import CheckpointError, DivergedError, GHNError
from pyg_ghn.training import MetaTrainer, TrainConfig, launch, train


def read_log(config):
    lines = (Path(config.out) / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_run_leaves_log_configuration_and_ghn(small_config):
    config = small_config()
    path = train(config)
    log = read_log(config)
    assert [line["step"] for line in log] == [2, 4]
    for key in ("loss", "accuracy", "grad_norm", "steps_per_second", "skipped_networks", "lr"):
        assert key in log[0], key
    assert log[0]["grad_norm"] > 0 and log[-1]["skipped_networks"] == 0
    written = json.loads((path.parent / "training.json").read_text())
    assert written["seed"] == 0 and "torch" in written["versions"]
    ghn = from_pretrained(path)
    assert ghn.config["hidden_channels"] == 16 and ghn.config["num_classes"] == 10


def test_run_on_a_data_set(small_config, tmp_path):
    DeepNets1M(tmp_path, "train", source="generated", num_networks=30, log=False)
    whole = tmp_path / "processed" / "generated_train_30.jsonl"
    whole.rename(whole.with_name("generated_train_1000000.jsonl"))
    config = small_config(dataset_root=str(tmp_path), dataset_source="generated", max_cells=9)
    train(config)
    assert read_log(config)[-1]["skipped_networks"] == 0


def test_training_moves_the_loss(small_config):
    # The same networks and images over and over: the loss must fall.
    config = small_config(steps=40, fresh=0, pool_size=1, log_every=10, lr=3e-3, gamma=0.0)
    trainer = MetaTrainer(config)
    trainer._seed_step = lambda: torch.manual_seed(0)
    trainer.fit()
    log = read_log(config)
    assert log[-1]["loss"] < log[0]["loss"] - 0.2


def test_step_never_waits_for_the_device_before_its_end(small_config, monkeypatch):
    """On the meta device there are no values: whatever asks for one fails."""
    trainer = MetaTrainer(small_config())
    trainer.ghn.to("meta")
    images = torch.empty(4, *trainer.images.input_size, device="meta")
    labels = torch.empty(4, dtype=torch.long, device="meta")
    sample = SimpleNamespace(sample=lambda count, device: (images, labels))
    trainer.images = SimpleNamespace(train=sample)
    monkeypatch.setattr(trainer, "_update", lambda finite, networks: finite.sum())
    assert trainer.step()["loss"].is_meta
    assert all(p.grad.is_meta for p in trainer.ghn.decoder.parameters())


def test_resumed_run_equals_an_uninterrupted_one(small_config, tmp_path):
    whole = train(small_config(out=str(tmp_path / "whole")))

    config = small_config(out=str(tmp_path / "parts"))
    first = MetaTrainer(config)
    for _ in range(2):
        first.step()
        first._advance(0.0)
    first.save()
    parts = train(config)

    a, b = from_pretrained(whole).state_dict(), from_pretrained(parts).state_dict()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, msg=name)
    assert [line["step"] for line in read_log(config)] == [4]


@pytest.mark.parametrize("network_clip", [None, 1.0])
@pytest.mark.parametrize("broken", [torch.log, torch.sqrt], ids=["loss", "gradient"])
def test_network_that_is_not_finite_is_skipped(broken, network_clip, small_config, monkeypatch):
    trainer = MetaTrainer(small_config(network_clip=network_clip))
    functions = iter([broken, torch.square])

    def first_is_broken(model, params, *args):
        zero = sum(p.sum() for p in params.values()) * 0
        return next(functions)(zero) + sum(p.sum() for p in params.values()), torch.tensor(0.5)

    monkeypatch.setattr("pyg_ghn.training.trainer.meta_loss", first_is_broken)
    before = [p.detach().clone() for p in trainer.ghn.parameters()]
    result = trainer.step()
    assert result["skipped_networks"] == 1 and result["loss"].isfinite()
    assert trainer.skipped_in_a_row == 0
    assert all(p.isfinite().all() for p in trainer.ghn.parameters())
    changed = [not torch.equal(a, b) for a, b in zip(before, trainer.ghn.parameters(), strict=True)]
    assert any(changed)


def test_diverged_run_stops_with_its_genotypes(small_config):
    trainer = MetaTrainer(small_config(steps=100))
    with torch.no_grad():
        next(trainer.ghn.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match=r'20 steps in a row.*(?s:.*)"genotype"'):
        trainer.fit()
    assert trainer.steps_done == 19  # the twentieth raised


def test_two_processes(small_config):
    path = launch(small_config(processes=2, steps=2, threads=1))
    assert from_pretrained(path).num_classes == 10


def test_errors(small_config):
    with pytest.raises(GHNError, match="how long"):
        small_config(steps=None)
    with pytest.raises(GHNError, match="shared evenly"):
        small_config(processes=3)
    with pytest.raises(GHNError, match="fresh=3"):
        small_config(fresh=3)
    with pytest.raises(GHNError, match="another size"):
        train(small_config())
        train(replace(small_config(), hidden_channels=32, steps=8))
    checkpoint = Path(small_config().out) / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        train(small_config())


def test_folder_that_cannot_be_made(small_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GHNError, match="choose another `out`"):
        train(small_config(out=str(tmp_path / "file" / "run")))


def test_every_configuration_of_the_repository_is_valid(monkeypatch):
    started = []
    monkeypatch.setattr("pyg_ghn.training.launcher.train", started.append)
    monkeypatch.setenv("LOCAL_RANK", "0")
    configs = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    for config in configs:
        main(["train", f"--config={config}"])
    assert len(started) == len(configs) >= 2
    assert all(isinstance(config, TrainConfig) for config in started)
