import functools
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from pyg_ghn import images
from pyg_ghn._arguments import joined_lists
from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained
from pyg_ghn.cli import COMMANDS, main
from pyg_ghn.nn import GHN2, GHN3
from pyg_ghn.training import TrainConfig


@pytest.fixture
def checkpoint(tmp_path):
    ghn = GHN3(hidden_channels=16, num_layers=1, heads=4, max_shape=(16, 16, 7, 7), num_classes=10)
    return str(save_pretrained(ghn, tmp_path / "ghn.safetensors"))


@pytest.mark.parametrize(
    "command, end", [("train --steps 1", ", run it again to go on."), ("evaluate", "interrupted.")]
)
def test_ctrl_c(command, end, monkeypatch, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setitem(
        COMMANDS, command.split()[0], functools.wraps(COMMANDS[command.split()[0]])(interrupted)
    )
    with pytest.raises(SystemExit, match="130"):
        main(command.split())
    assert capsys.readouterr().err.endswith(f"{end}\n")


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Writes a module that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda name, *lines: (tmp_path / f"{name}.py").write_text("\n".join(lines))


def test_predict_own_model(checkpoint, tmp_path, capsys, own_module):
    layers = "nn.Conv2d(3, width, 3), nn.PReLU(), nn.Flatten(), nn.Linear(width * 36, 10)"
    make = f"def make(width=4): return nn.Sequential({layers})"
    own_module("my_models", "from torch import nn", make)
    out, report = tmp_path / "deep" / "own.safetensors", tmp_path / "report.json"
    options = [f"--checkpoint={checkpoint}", f"--out={out}", "--input_size=[3,8,8]"]
    options += [f"--report={report}", '--model_args={"width": 6}']
    main(["predict", "my_models:make", *options])
    printed = capsys.readouterr().out
    assert "predicted: 4 of 5 parameters" in printed
    assert "left as they are:\n  1.weight (1 value): " in printed
    statuses = [p["status"] for p in json.loads(report.read_text())["parameters"]]
    assert statuses == "predicted predicted left tiled predicted".split()
    state = load_file(out)
    assert state["0.weight"].shape == (6, 3, 3, 3)
    assert state["1.weight"].item() == 0.25  # PReLU's own initialization


def test_predict_torchvision_model_or_to_an_unwritable_file(checkpoint, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    arguments = ["predict", "shufflenet_v2_x0_5", f"--checkpoint={checkpoint}", f"--out={out}"]
    main([*arguments, '--model_args={"num_classes": 10}'])
    assert "left as they are" not in capsys.readouterr().out
    assert load_file(out)["fc.weight"].shape == (10, 1024)
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "net.safetensors"
    arguments = [f"--checkpoint={checkpoint}", f"--out={out}", '--model_args={"num_classes": 10}']
    with pytest.raises(SystemExit, match=f"pyg-ghn predict: Can't write to {out}: .*--out"):
        main(["predict", "squeezenet1_1", *arguments])


def test_predict_in_the_mode_that_the_model_needs(checkpoint, tmp_path, capsys, own_module):
    own_module(
        "moody_models",
        "from torch import nn",
        "class Moody(nn.Linear):",
        "    def forward(self, x):",
        "        assert not self.training, 'targets are missing'",
        "        return super().forward(x)",
        "def make(): return Moody(8, 10)",
    )
    arguments = ["predict", "moody_models:make", f"--checkpoint={checkpoint}", "--input_size=[8]"]
    with pytest.raises(SystemExit, match="targets are missing"):
        main(arguments)
    main([*arguments, "--mode=eval", f"--out={tmp_path / 'net.safetensors'}"])
    assert "predicted: 2 of 2 parameters, 90 of 90 values" in capsys.readouterr().out


def test_train_then_evaluate(tmp_path, capsys, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"out: {tmp_path / 'run'}\nhidden_channels: 16\nnum_layers: 1\nheads: 4\n"
        "max_shape: [16, 16, 7, 7]\nmax_cells: 4\nchannels: [8]\npool_size: 2\n"
        "meta_batch_size: 1\nbatch_size: 8\nsteps: 2\nimage_size: 16\n"
    )
    main(["train", f"--config={config}", "--lr=2e-3"])
    ghn = tmp_path / "run" / "model.safetensors"
    assert f"pyg-ghn evaluate --checkpoint {ghn}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "training.json").read_text())["lr"] == 2e-3
    out = tmp_path / "results"
    sizes, load = [], images.get_image_data

    def spy(*args, **options):
        data = load(*args, **options)
        sizes.append(data.input_size)
        return data

    monkeypatch.setattr(images, "get_image_data", spy)
    main(
        ["evaluate", f"--checkpoint={ghn}", '--splits=["test"]', "--num_networks=2", f"--out={out}"]
    )
    assert "RandInit" in capsys.readouterr().out and sizes == [(3, 16, 16)]
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["channels"] == 8 and results["images"] == "digits"
    assert (out / "plot.png").stat().st_size > 10_000 and (out / "table.txt").exists()


@pytest.mark.parametrize("option", ["-o", "--out"])
def test_convert(checkpoint, tmp_path, capsys, option):
    ghn = GHN2(16, (8, 8, 7, 7), num_classes=10)
    torch.save(ghn.state_dict(), tmp_path / "ghn.pt")
    main(["convert", str(tmp_path / "ghn.pt"), option, str(tmp_path / "ghn")])
    printed = capsys.readouterr().out
    assert f"GHN2 of {sum(p.numel() for p in ghn.parameters()):,} parameters" in printed
    assert "  max_shape: [8, 8, 7, 7]\n" in printed
    assert f"It is in {tmp_path / 'ghn' / 'model.safetensors'}." in printed
    converted = from_pretrained(tmp_path / "ghn").state_dict()
    assert all(torch.equal(p, converted[name]) for name, p in ghn.state_dict().items())
    training = {"training": json.dumps({"images": "digits"}), "note": "x"}
    save_pretrained(from_pretrained(checkpoint), checkpoint, training)
    main(["convert", checkpoint, option, str(tmp_path / "out.safetensors")])
    assert read_metadata(tmp_path / "out.safetensors") == read_metadata(checkpoint)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["predict", "resnet9000"], "torchvision has no model 'resnet9000'"),
        (["predict", "no.such:thing"], "Can't find no.such:thing"),
        (
            ["predict", "resnet18", '--model_args={"depth": 3}'],
            "unexpected keyword argument 'depth'",
        ),
        (["predict", "resnet18", "--input_size=[3,8]"], "The forward pass of ResNet"),
        (["predict", "resnet18", "--checkpoint=nowhere.pt"], "nowhere.pt"),
        (["evaluate", '--splits=["hard"]'], "Unknown split 'hard'"),
        (["evaluate", "--images=pets"], "Unknown image set 'pets'"),
        (["train", "--out=x"], "how long to train"),
        (["evaluate", "--image_root=x"], "leave out image_root"),
        (["predict", "resnet18", "--image_root=x"], "go with --images"),
        (["predict", "x", "--images=digits", "--input_size=[8]"], "leave out --input_size"),
        (["convert", "nowhere.pt", "-o=x"], "'nowhere.pt' is no file"),
        (["convert", __file__, "-o=x"], "is no checkpoint"),
        (["convert", "ghn3-digits", "-o", f"{__file__}/x"], "Can't write to"),
    ],
)
def test_errors_are_messages(arguments, message, checkpoint):
    given = any(a.startswith("--checkpoint") for a in arguments) or arguments[0] in (
        "train",
        "convert",
    )
    with pytest.raises(SystemExit) as stop:
        main(arguments if given else [*arguments, f"--checkpoint={checkpoint}"])
    assert message in str(stop.value) and str(stop.value).startswith(f"pyg-ghn {arguments[0]}: ")


@pytest.mark.parametrize(
    "factory, arguments, message",
    [
        ("broken", "{}", "bad_models:broken failed with the arguments {}: KeyError: 'width'"),
        ("picky", '{"depth": 3}', "bad_models:picky does not take the arguments {'depth': 3}: "),
        ("picky", '{"width": 3}', "bad_models:picky failed with the arguments {'width': 3}: TypeE"),
        ("size", "{}", "bad_models:size does not take the arguments {}: 3 is not a callable"),
        ("number", "{}", "bad_models:number returned a int, not a torch.nn.Module"),
        ("absent", "{}", "Can't find bad_models:absent: AttributeError"),
        ("leave", "{}", "bad_models:leave failed with the arguments {}: SystemExit: 0"),
    ],
)
def test_errors_of_own_factories(factory, arguments, message, checkpoint, own_module):
    own_module(
        "bad_models",
        "size = 3",
        "def broken(): return {}['width']",
        "def picky(width): return width + ''",
        "def number(): return size",
        "def leave(): raise SystemExit(0)",
    )
    options = [f"--model_args={arguments}", f"--checkpoint={checkpoint}"]
    with pytest.raises(SystemExit) as stop:
        main(["predict", f"bad_models:{factory}", *options])
    assert f"pyg-ghn predict: {message}" in str(stop.value)


def test_module_that_cannot_be_imported(checkpoint, own_module):
    own_module("half_written", "def make(:")
    with pytest.raises(SystemExit, match="Can't find half_written:make: SyntaxError"):
        main(["predict", "half_written:make", f"--checkpoint={checkpoint}"])


LAUGHS = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    "text, message",
    [
        (f"images: &a {'x' * 10**5}\nchannels: [{'*a, ' * 9000}]\n", "more than 10000 values"),
        (f"a0: &a0 [1]\n{LAUGHS}", "more than 10000 values"),
        ("channels: &a [*a]\n", "more than 10000 values"),
        ("channels: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("seed: 0x" + "f" * 10**5, "more than 100 digits"),
        ("seed: " + "59:" * 10**4 + "59", "more than 100 digits"),
        ("out: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("lr: !!timestamp x\n", "a value that can't be read (AttributeError"),
        ("channels_last: !!bool x\n", "a value that can't be read (KeyError: 'x')"),
        ("out: é\n".encode("latin-1"), "the file given by --config is no text in UTF-8"),
        ("steps: 1\n".encode("utf-16"), "the file given by --config is no text in UTF-8"),
        ('steps: 1\nout: "a\\0"\n', "--out must have no zero byte"),
    ],
)
def test_configs_that_cannot_be_read(tmp_path, capsys, text, message):
    config = tmp_path / "config.yaml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as stop:
        main(["train", f"--config={config}"])
    printed = capsys.readouterr().err or str(stop.value)
    assert message in printed and printed.startswith("pyg-ghn") and len(printed) < 1000


@pytest.mark.parametrize(
    "words, message",
    [
        ("train --lr fast", "--lr must be float, got fast"),
        ("train --channels 12x", "--channels must be list[int], got 12x"),
        ("predict resnet18 --mode x", "--mode must be Literal['train', 'eval'], got x"),
        ("evaluate --num_networks 1.5", "--num_networks must be int, got 1.5"),
        ("finetune resnet18 --model_args [1]", "--model_args must be dict[str, Any], got [1]"),
        ("finetune x --checkpoint y", "unrecognized arguments: --checkpoint y: the GHN to begin"),
    ],
)
def test_values_of_another_type(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert f"{words.split()[0]}: {message}" in capsys.readouterr().err


def test_help_is_fast(capsys):
    """Nothing that takes seconds to import is there before a command runs."""
    code = (
        "import sys\n"
        "from pyg_ghn.cli import COMMANDS, main\n"
        "try:\n    main(['predict', '--help'])\n"
        "finally:\n    assert not {'torch', 'numpy', 'torch_geometric'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Meta-train a GHN" in capsys.readouterr().out


def test_finetune_and_predict_for_images(tmp_path, capsys, own_module):
    layers = "nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()"
    make = f"def make(classes=10): return nn.Sequential({layers}, nn.Linear(288, classes))"
    own_module("tiny_models", "from torch import nn", make)
    out = tmp_path / "tuned.safetensors"
    arguments = ["finetune", "tiny_models:make", "--steps", "2", "--out", str(out)]
    given = "--lrs 0.1 0.02 --seeds 0 0 --compare_with random ghn3-digits:norms"
    main([*arguments, *given.split()])
    printed = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in printed[1:4]]
    assert names == ["ghn3-digits", "random", "ghn3-digits:norms"]
    assert load_file(out)["1.running_mean"].abs().sum() > 0
    assert len(json.loads(out.with_suffix(".json").read_text())) == 3
    for options, message in (
        (["--compare_with", "foo"], "'foo' is no .*random, .*, mimetic, too"),
        (["--lrs", "-0.1"], "lr must be more than 0"),
        (["--evaluate_at", "1", "3"], "evaluate_at must be a list of steps from 1 to 2"),
        (["--model_args", '{"classes": 3}'], r"outputs of shape \(3,\), but .* 10 classes"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([*arguments, *options])
    capsys.readouterr()
    main(["predict", "resnet18", "--images", "digits", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "do not fit" not in printed
    assert load_file(out)["fc.weight"].shape == (10, 512)
    loaded = {}
    exec(printed.partition("Load it by\n")[2].replace("\n  ", "\n").strip(), loaded)
    assert loaded["model"].fc.out_features == 10 and isinstance(
        loaded["model"].maxpool, torch.nn.Identity
    )


def test_a_lone_flag_is_true():
    words = ["train", "--out", "shard", "--allow_changes", "--flip", "--seed", "1", "--shard"]
    found = joined_lists(words, {"train": (TrainConfig,)})
    assert found == [
        *("train", "--out", "shard", "--allow_changes=true", "--flip=true", "--seed", "1"),
        "--shard=true",
    ]
