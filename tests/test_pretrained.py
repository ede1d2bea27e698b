"""The packaged GHNs were really trained."""

import pytest
from torch import nn

from pyg_ghn import from_pretrained
from pyg_ghn.checkpoint import PRETRAINED, read_metadata, save_pretrained
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import evaluate_ghn
from pyg_ghn.images import get_image_data


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
    metadata, folder = read_metadata(f"ghn3-{name}"), PRETRAINED / f"ghn3-{name}"
    assert metadata["training"]["images"] == images and "torch" in metadata
    assert metadata["training"].get("image_size") == size
    files = {"README.md", "log.jsonl", "model.safetensors", "training.json"}
    assert {file.name for file in folder.iterdir()} == files
    assert f"configs/{name}.yaml" in (folder / "README.md").read_text()


def test_arguments_of_another_type_are_named(tmp_path):
    with pytest.raises(ConfigError, match="must be of type str or Path, got NoneType"):
        from_pretrained(None)
    with pytest.raises(ConfigError, match="must be of type GHN, got Linear"):
        save_pretrained(nn.Linear(2, 2), tmp_path / "file")
    assert not list(tmp_path.iterdir())
