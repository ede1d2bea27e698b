r"""Writing of graph hypernetworks, in the format of this package."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyg_ghn._files import atomic_path
from pyg_ghn.checkpoint.loading import (
    CHECKSUM,
    CONFIG,
    WEIGHTS,
    checksum_of,
    find,
    is_safetensors,
    naming,
)
from pyg_ghn.errors import CheckpointError, expect
from pyg_ghn.nn import GHN


def save_pretrained(
    ghn: GHN,
    path: str | Path,
    metadata: dict[str, str] | None = None,
    state_dict: dict[str, Tensor] | None = None,
) -> Path:
    r"""Writes a graph hypernetwork as a safetensors file that :func:`from_pretrained` reads, with
    a checksum in its metadata. A file appears under its name once it is complete, or not at all.

    Args:
        ghn (GHN): The graph hypernetwork.
        path (str or Path): A file that ends in :obj:`.safetensors`; or a directory in which to
            write :obj:`model.safetensors` and :obj:`config.json`, as
            :class:`huggingface_hub.PyTorchModelHubMixin` does. Directories are made as needed.
        metadata (dict, optional): More strings to keep in the file, see :func:`read_metadata`.
            (default: :obj:`None`)
        state_dict (dict, optional): Parameters to write instead of the GHN's own, such as an
            average, or what lay divided among processes. (default: :obj:`None`)

    Returns:
        The path of the safetensors file.
    """
    expect(ghn, GHN, "ghn")
    path = Path(path)
    config = json.dumps({"class": ghn.__class__.__name__, **ghn.config})
    state_dict = ghn.state_dict() if state_dict is None else state_dict
    state = {name: value.detach().contiguous() for name, value in state_dict.items()}
    weights = path if path.suffix == ".safetensors" else path / WEIGHTS
    metadata = {"format": "pt", **(metadata or {}), "config": config}
    metadata[CHECKSUM] = checksum_of(state, metadata)
    with atomic_path(weights) as temporary:
        save_file(state, temporary, metadata)
    if weights != path:
        with atomic_path(path / CONFIG) as temporary:
            temporary.write_text(config)
    return weights


def push_to_hub(ghn: GHN, name: str, private: bool | None = None, token: str | None = None) -> str:
    r"""Uploads a graph hypernetwork to the Hugging Face hub, from where :func:`from_pretrained`
    gets it by its name.

    Args:
        ghn (GHN): The graph hypernetwork.
        name (str): Name of the repository, :obj:`"owner/name"`; it is made as needed.
        private (bool, optional): Whether a new repository is private. (default: :obj:`None`)
        token (str, optional): The access token, by default that of ``hf auth login``.
            (default: :obj:`None`)

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: If the hub cannot be reached or refuses.
    """
    api = huggingface_hub.HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(ghn, folder)
        try:
            api.create_repo(name, private=private, exist_ok=True)
            return api.upload_folder(repo_id=name, folder_path=folder)
        except Exception as error:  # of one HTTP library or another, depending on the client
            raise CheckpointError(f"'{name}' cannot be uploaded: {error}") from error


def read_metadata(name_or_path: str | Path) -> dict[str, Any]:
    r"""Reads what :func:`save_pretrained` wrote into a safetensors file besides the tensors.

    Args:
        name_or_path (str or Path): See :func:`from_pretrained`.

    Returns:
        The strings by name; those that are JSON objects as dictionaries. Empty for other kinds of
        file.

    Raises:
        CheckpointError: If there is no such file, or it cannot be read.
    """
    path = find(name_or_path)
    with naming(path):
        if not is_safetensors(path):
            return {}
        with safe_open(path, framework="pt") as weights:
            metadata = weights.metadata() or {}

    def decoded(value: str) -> Any:
        try:
            return json.loads(value) if value.startswith("{") else value
        except (ValueError, RecursionError):
            return value

    return {name: decoded(value) for name, value in metadata.items()}
