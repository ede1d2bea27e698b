"""The packaged GHNs were really trained, and the examples run with them."""

from pathlib import Path

import pytest

from pyg_ghn import from_pretrained
from pyg_ghn.checkpoint import PRETRAINED, read_metadata
from pyg_ghn.evaluation import evaluate_ghn
from pyg_ghn.images import get_image_data

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_packaged_ghn_classifies_with_unseen_networks():
    ghn = from_pretrained("ghn3-digits")
    assert sum(p.numel() * p.element_size() for p in ghn.parameters()) < 3_000_000
    settings = {"num_networks": 4, "channels": 16, "progress": False}
    result = evaluate_ghn(ghn, get_image_data("digits"), ["dense"], **settings)
    summary = result.summary()["splits"]["dense"]
    assert summary["ghn_mean"] > 0.6 > 0.2 > summary["random_mean"]


@pytest.mark.parametrize(
    "name, images, size", [("digits", "digits", None), ("fashion", "fashion_mnist", 16)]
)
def test_packaged_ghns_tell_how_they_were_trained(name, images, size):
    name = f"ghn3-{name}"
    metadata = read_metadata(name)
    assert metadata["training"]["images"] == images and "torch" in metadata
    assert metadata["training"].get("image_size") == size
    assert {file.name for file in (PRETRAINED / name).iterdir()} == {
        "README.md", "log.jsonl", "model.safetensors", "training.json"
    }  # fmt: skip
    assert (
        f"configs/{name.removeprefix('ghn3-')}.yaml"
        in (PRETRAINED / name / "README.md").read_text()
    )


def run_blocks(page, tmp_path, monkeypatch):
    """The Python blocks of a page build on each other, as they are read."""
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES.parent / page).read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) >= 2
    scope = {}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
    return scope


def test_python_code_on_prediction_runs(tmp_path, monkeypatch, capsys):
    run_blocks("docs/prediction.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    text = (EXAMPLES.parent / "docs" / "prediction.md").read_text()
    assert "repeated 9 x 3 times (out x in)" in printed
    assert printed[-6] == "predicted: 5 of 5 parameters, 3,122 of 3,122 values"
    assert "\n".join(printed[-6:]) in text  # what the page says it prints


def test_python_code_of_the_readme_runs(tmp_path, monkeypatch):
    scope = run_blocks("README.md", tmp_path, monkeypatch)
    assert scope["x"].shape == (scope["batch"].num_nodes, 64)
