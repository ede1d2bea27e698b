import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_model

from pyg_ghn.architectures import split_net_args
from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained
from pyg_ghn.datasets import DeepNets1M
from pyg_ghn.errors import ConfigError, DivergedError, GHNError
from pyg_ghn.evaluation import layer_statistics
from pyg_ghn.initialization import last_layer
from pyg_ghn.nn import GHN, GHN3
from pyg_ghn.training import MetaTrainer, launch, train
from pyg_ghn.transforms import RequireAcyclic


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
    trainer._seed = lambda *_: torch.manual_seed(0)
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


@pytest.mark.parametrize("shard", [False, True], ids=["copies", "shards"])
def test_two_processes_have_the_losses_of_one(shard, small_config, tmp_path):
    options = {"meta_batch_size": 4, "steps": 3, "log_every": 1, "val_every": 2, "threads": 1}
    options |= {"val_steps": 1}
    options |= {"accumulate": 2, "rotation": 10, "ema": 0.9}
    one = small_config(out=str(tmp_path / "one"), **options)
    two = replace(one, processes=2, shard=shard, out=str(tmp_path / "two"))
    if shard:  # they go on from the checkpoint of one
        train(replace(one, steps=1))
        shutil.copytree(one.out, two.out)
    path, other = launch(two), from_pretrained(train(one)).state_dict()
    for a, b in zip(read_log(one), read_log(two), strict=True):
        assert a.keys() == b.keys()
        for name in ("loss", "accuracy", "grad_norm", "lr"):
            assert a[name] == pytest.approx(b[name], rel=1e-3), name
        validated = {name: value for name, value in a.items() if name.startswith("val_")}
        assert validated == pytest.approx({name: b[name] for name in validated}, rel=1e-3)
    for name, param in from_pretrained(path).state_dict().items():
        torch.testing.assert_close(param, other[name], rtol=0, atol=1e-4)


def test_a_ghn_to_begin_with_brings_its_options_and_learns_other_classes(small_config, tmp_path):
    torch.manual_seed(1)
    begun = GHN3(16, 2, 4, max_shape=(16, 16, 5, 5), num_classes=7, edge_bias="forward")
    path = save_pretrained(begun, tmp_path / "begun.safetensors")
    trainer = MetaTrainer(small_config(init=str(path), hidden_channels=64, num_layers=5, steps=1))
    config, ghn = trainer.config, trainer.ghn
    assert (config.hidden_channels, config.num_layers, config.heads) == (16, 2, 4)
    assert (tuple(config.max_shape), config.edge_bias) == ((16, 16, 5, 5), "forward")
    assert ghn.config == {**begun.config, "num_classes": 10}
    before = begun.state_dict()
    for name, param in ghn.state_dict().items():
        assert (param.shape != before[name].shape) == ("decoder.class_" in name)
        assert param.shape != before[name].shape or torch.equal(param, before[name])
    trainer.fit()
    written = from_pretrained(trainer.out / "model.safetensors")
    assert written.config == ghn.config


def test_accumulated_meta_batches_are_one_large_step(small_config):
    """Without a pool the networks are the same; their images are made so."""
    gradients, options = [], {"pool_size": 1, "fresh": 0, "clip": 1e9}
    for accumulate in (1, 2):
        trainer = MetaTrainer(small_config(accumulate=accumulate, **options))
        trainer._seed = lambda *_: torch.manual_seed(0)
        trainer.optimizer.step = trainer.optimizer.zero_grad = lambda: None
        sums = trainer.step()
        assert sums["networks"] == 2 * accumulate
        gradients.append([p.grad for p in trainer.ghn.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_average_is_what_is_written_and_may_begin_later(small_config):
    config = small_config(ema=0.5, steps=3, save_every=1)
    trainer = MetaTrainer(config)
    name, param = next(iter(trainer.ghn.named_parameters()))
    expected = param.detach().clone()
    for step in range(3):
        trainer.step()
        expected += (param.detach() - expected) * (1 - min(0.5, (1 + step) / (10 + step)))
        trainer._advance(0.0)
    trainer.save()
    written = from_pretrained(Path(config.out) / "model.safetensors").state_dict()[name]
    torch.testing.assert_close(written, expected)
    saved = torch.load(Path(config.out) / "checkpoint.pt")
    assert torch.equal(saved["average"][name], written)
    assert torch.equal(saved["state_dict"][name], param) and not torch.equal(param, written)
    later = small_config(out=f"{config.out}-later", steps=1)
    train(later)
    with pytest.warns(UserWarning, match="goes on with other options: ema 0.0 -> 0.9"):
        train(replace(later, steps=2, ema=0.9))


def test_validation_changes_nothing_and_is_logged(small_config, capsys):
    config = small_config(val_every=3, val_steps=2)
    with_val = from_pretrained(train(config)).state_dict()
    log = read_log(config)
    assert ["val_accuracy" in line for line in log] == [False, True]
    assert 0 <= log[1]["val_accuracy"] <= 1
    assert 0 < log[1]["val_rank"] < 1 and -1 <= log[1]["val_cosine"] <= 1
    assert 0 <= log[1]["val_tuned_accuracy"] <= 1
    assert f"tuned {log[1]['val_tuned_accuracy']:.3f})" in capsys.readouterr().err
    assert log[1]["val_scale"] > 0 and log[1]["val_class_scale"] > 0
    other = small_config(out=f"{config.out}-without", val_every=4)
    without = train(other)
    assert "val_tuned_accuracy" not in read_log(other)[1].keys() >= {"val_accuracy"}
    for name, param in from_pretrained(without).state_dict().items():
        assert torch.equal(param, with_val[name])
    trainer = MetaTrainer(small_config(meta_batch_size=3))
    sums, ghn, networks = trainer.validate(), trainer.ghn, trainer._validation.networks
    assert sums["val_networks"] == len(networks) == 3 and len(trainer._validation.images) == 64
    assert trainer.validate() == sums and ghn.training
    found = [layer_statistics(ghn.predict_graph(data), last_layer(data)) for _, data, _ in networks]
    for name in ("rank", "scale", "class_scale"):
        assert sums[f"val_{name}"] == pytest.approx(sum(float(one[name]) for one in found))
    assert sums["val_paired"] == sum("cosine" in one for one in found) > 0
    known = [args["n_cells"] for args in split_net_args("val") if args["n_cells"] <= 5]
    assert [len(model.cells) for model, _, _ in networks] == known[:3]


def test_precision_that_is_not_there(small_config):
    with pytest.raises(ConfigError, match="mixed_precision=fp8 needs"):
        MetaTrainer(small_config(mixed_precision="fp8"))
    MetaTrainer(small_config())
    with pytest.raises(ConfigError, match="mixed_precision=bf16 can't be had: "):
        MetaTrainer(small_config(mixed_precision="bf16"))


def test_processes_that_cannot_be_joined(small_config, monkeypatch):
    def refuse(**options):
        raise ValueError("`MASTER_ADDR` env was not set")

    monkeypatch.setattr("pyg_ghn.training.processes.Accelerator", refuse)
    with pytest.raises(ConfigError, match=r"^The processes can't be joined: `MASTER_ADDR`"):
        MetaTrainer(small_config())


def test_networks_are_tuned_without_autocast(small_config, monkeypatch):
    seen = []

    def tuned(model, *_):
        seen.append(torch.is_autocast_enabled("cpu"))
        return SimpleNamespace(val=0.5)

    monkeypatch.setattr("pyg_ghn.training.stream.finetune", tuned)
    trainer = MetaTrainer(small_config(val_steps=1))
    with torch.autocast("cpu", torch.bfloat16):
        sums = trainer.validate()
    assert seen == [False, False] and sums["val_tuned_accuracy"] / sums["val_tuned"] == 0.5


class Recorder(GeneralTracker):
    name, requires_logging_directory, tracker = "recorder", False, None

    def __init__(self):
        self.calls = []

    def start(self):
        self.calls.append("start")

    def store_init_configuration(self, values):
        assert values["lr"] == 1e-3 and isinstance(values["max_shape"], str)

    def log(self, values, step, **kwargs):
        self.calls.append((step, sorted(values)))

    def finish(self):
        self.calls.append("finish")


def test_tracker_gets_every_line(small_config, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("pyg_ghn.training.processes.find_spec", lambda _: True)
    monkeypatch.setattr("accelerate.accelerator.filter_trackers", lambda *_: [recorder])
    config = small_config(tracker="tensorboard")
    train(config)
    names = sorted(read_log(config)[0].keys() - {"step"})
    assert recorder.calls == ["start", (2, names), (4, names), "finish"]


def test_errors(small_config, monkeypatch):
    with pytest.raises(GHNError, match="another size"):
        train(small_config())
        train(replace(small_config(), hidden_channels=32, steps=8))
    with pytest.raises(ConfigError, match="start several"):
        MetaTrainer(small_config(shard=True))
    with pytest.raises(ConfigError, match=r"for 7 classes: .* not 10"):
        train(small_config(), OwnGHN(16, (16, 16, 7, 7), 7))
    with pytest.raises(ConfigError, match="leave out `init`"):
        train(small_config(init="ghn3-digits"), OwnGHN(16, (16, 16, 7, 7), 10))
    monkeypatch.setattr("pyg_ghn.training.processes.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="tracker wandb is not installed: pip install wandb"):
        MetaTrainer(small_config(tracker="wandb"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # what accelerate launch --cpu leaves
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ConfigError, match=r"single process.*--processes 2"):
        train(small_config())


class OwnGHN(GHN):
    """A GHN as a user may write one, of the base class alone."""

    def __init__(self, hidden_channels, max_shape, num_classes, weight_norm=True):
        super().__init__(hidden_channels, max_shape, num_classes, weight_norm=weight_norm)
        self.scale = torch.nn.Parameter(torch.ones(hidden_channels))

    @property
    def transform(self):
        return RequireAcyclic()

    def encode(self, x, data):
        return self.scale * x


def test_ghn_of_an_own_class(small_config):
    path = train(small_config(steps=2), OwnGHN(16, (16, 16, 7, 7), 10))
    ghn = OwnGHN(16, (16, 16, 7, 7), 10)
    assert read_metadata(path)["config"] == {"class": "OwnGHN", **ghn.config}
    load_model(ghn, path)
    trained = ghn.scale.detach().clone()
    trainer = MetaTrainer(small_config(), ghn)
    trainer.resume()
    assert trainer.steps_done == 2 and torch.equal(ghn.scale, trained)
    trainer.fit()
    assert [line["step"] for line in read_log(trainer.config)] == [2, 4]
    assert not torch.equal(ghn.scale, trained)
