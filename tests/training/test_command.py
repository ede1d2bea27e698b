"""Configurations of the repository, and GHNs of all kinds trained by the command line."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.cli import main
from pyg_ghn.nn import GHN2, GHN3, GHNMLP
from pyg_ghn.training import make

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
# Millions of parameters for 1000 classes, Tables 1 and 11
SIZES = {"ghn2": 2.32, "ghn3-l": 214.67, "ghn3-s": 35.81, "ghn3-t": 6.91, "ghn3-xl": 654.37}


@pytest.fixture
def configured(monkeypatch):
    """The configuration that a command line makes, without training."""
    started = []
    monkeypatch.setattr("pyg_ghn.training.trainer.train", started.append)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.chdir(ROOT)

    def configured(command):
        main(command.split()[1:])
        return started.pop()

    return configured


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_and_the_commands_in_their_comments(path, configured, monkeypatch):
    first = f"pyg-ghn train --config {path.relative_to(ROOT)}"
    others = re.findall("^# (pyg-ghn train .*)", path.read_text(), re.MULTILINE)
    configs = [configured(command) for command in dict.fromkeys([first, *others])]
    assert len({config.out for config in configs}) == len(configs)
    assert len({repr(replace(config, out="")) for config in configs}) == len(configs)
    monkeypatch.setattr(make, "_check_memory", lambda *args: None)  # as if there were enough
    with torch.device("meta"):
        cpu, bare = torch.device("cpu"), [replace(config, init=None) for config in configs]
        ghns = [make.make_ghn(config, 1000, cpu) for config in bare]
    if path.stem in SIZES:
        size = sum(p.numel() for p in ghns[0].parameters())
        assert round(size / 1e6, 2) == SIZES[path.stem]
    if path.stem in GHN3.CONFIGS:  # a run of the paper makes the GHN of that name
        with torch.device("meta"):
            assert ghns[0].config == GHN3.from_config(path.stem).config


@pytest.mark.parametrize(
    "options, cls, expected",
    [
        ("--model ghn2", GHN2, {}),
        ("--model mlp", GHNMLP, {}),
        ("--edge_bias forward --penalty squared", GHN3, {"edge_bias": "forward"}),
        ("--edge_bias none --centrality false", GHN3, {"edge_bias": "none", "centrality": False}),
        ("--edge_bias none --num_layers 0", GHN3, {"num_layers": 0}),
    ],
)
def test_any_ghn_is_trained_and_loaded_back(options, cls, expected, tmp_path, capsys):
    small = "--hidden_channels 16 --num_layers 1 --heads 4 --max_shape 16 16 7 7 --max_cells 4"
    small += " --channels 8 --pool_size 2 --meta_batch_size 1 --batch_size 8 --steps 2"
    main(["train", "-o", str(tmp_path), *small.split(), *options.split()])
    main(["convert", str(tmp_path / "checkpoint.pt"), "-o", str(tmp_path / "copy")])
    assert f"{cls.__name__} of " in capsys.readouterr().out
    ghn, copy = from_pretrained(tmp_path), from_pretrained(tmp_path / "copy")
    assert type(ghn) is cls and ghn.config == copy.config == ghn.config | expected
    values = copy.state_dict()
    assert all(torch.equal(value, values[name]) for name, value in ghn.state_dict().items())
    model = torch.nn.Linear(8, 10)
    found, expected = (each.predict(model, (8,))["weight"] for each in (ghn, copy))
    torch.testing.assert_close(found, expected)  # sums depend on where in memory values lie
