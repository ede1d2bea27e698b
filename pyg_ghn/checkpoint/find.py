r"""The file that a name stands for."""

import re
from contextlib import suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from pyg_ghn.errors import CheckpointError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"  # beside weights without a config of their own
PRETRAINED = Path(__file__).parents[1] / "pretrained"

# The files that the authors of GHN-3 released, and the repository on the hub that has them.
RELEASED = ("ghn3tm8.pt", "ghn3sm8.pt", "ghn3lm8.pt", "ghn3xlm16.pt")
_RELEASED_REPOSITORY = "SamsungSAILMontreal/ghn3"

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = frozenset((".bin", ".ckpt", ".joblib", ".pkl", ".pt", ".pth", ".safetensors"))


def find(name: str | Path) -> Path:
    """The file of a path, a packaged GHN, a released GHN or a repository on the hub."""
    path, name = Path(name), str(name)
    try:
        is_dir = path.is_dir()
        local = path / WEIGHTS if is_dir else path
        if local.is_file():
            return local
    except OSError as error:  # too long a name, or in a folder that may not be searched
        raise CheckpointError(f"'{path}' cannot be looked up: {error}") from error
    packaged = {file.parent.name: file for file in sorted(PRETRAINED.glob(f"*/{WEIGHTS}"))}
    if name in packaged:
        return packaged[name]
    if name in RELEASED:
        return _download(_RELEASED_REPOSITORY, name)
    is_path = path.suffix in _SUFFIXES or path.parent.is_dir()  # what is missing there is a file
    if not is_path and _HUB_NAME.fullmatch(name):
        weights = _download(name, WEIGHTS)
        with suppress(HfHubHTTPError, EntryNotFoundError):  # our own files do without
            huggingface_hub.hf_hub_download(name, CONFIG)  # lands beside the weights
        return weights
    what = f"The directory '{path}' has no {WEIGHTS}" if is_dir else f"'{name}' is no file"
    raise CheckpointError(
        f"{what} and no name of a GHN in this package: {', '.join(packaged) or 'there is none'}. "
        f"Names on the Hugging Face hub are {', '.join(RELEASED)} and those of the form "
        "'owner/name' where no folder 'owner' is."
    )


def _download(repository: str, file: str) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except Exception as error:  # of one HTTP library or another, depending on the hub's client
        raise CheckpointError(
            f"{file} of '{repository}' is not on this machine and cannot be downloaded from the "
            f"Hugging Face hub: {error} Check the name; without network, download the file "
            "elsewhere and give its path."
        ) from error
