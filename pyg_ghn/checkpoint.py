r"""Reading and writing of graph hypernetworks. Code in a file is never run: only tensors and plain
values are read."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyg_ghn._files import atomic_path
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN, GHN3
from pyg_ghn.training_format import is_ours, to_training_name, training_config, unify

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PRETRAINED = Path(__file__).parent / "pretrained"

_CLASSES = {"GHN3": GHN3}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def from_pretrained(name_or_path: str | Path, map_location: str | torch.device = "cpu") -> GHN:
    r"""Loads a graph hypernetwork.

    Args:
        name_or_path (str or Path): One of

            - a :obj:`.safetensors` file written by :func:`save_pretrained`, or a directory with a
              :obj:`model.safetensors`,
            - a training checkpoint of GHN-3, ours or the authors': a :obj:`torch.save` file of
              state dict and config,
            - the name of a GHN that comes with this package,
            - the name of a repository on the Hugging Face hub, :obj:`"owner/name"`, with a
              :obj:`model.safetensors`.
        map_location (str or torch.device, optional): The device to load to.
            (default: :obj:`"cpu"`)

    Raises:
        CheckpointError: If there is no such file, or it cannot be read, or does not fit.
    """
    path = _find(name_or_path)
    magic = _magic(path)
    if magic[8:] == b"{":  # first: the length before it can look like any other magic
        return _load_safetensors(path, map_location)
    if magic[:2] == b"PK":
        return _load_training(path, map_location)
    if magic[:1] == b"\x80":
        raise CheckpointError(
            f"'{path}' is a bare pickle, such as joblib writes, which this version does not read. "
            "Save its state dict by `torch.save({'state_dict': ..., 'config': {}}, path)`."
        )
    raise CheckpointError(f"'{path}' is no checkpoint: neither safetensors nor a torch.save file.")


def save_pretrained(ghn: GHN, path: str | Path, metadata: dict[str, str] | None = None) -> Path:
    r"""Writes a graph hypernetwork as a safetensors file that :func:`from_pretrained` reads. The
    file appears under its name once it is complete, or not at all.

    Args:
        ghn (GHN): The graph hypernetwork.
        path (str or Path): A file that ends in :obj:`.safetensors`, or a directory in which to
            write :obj:`model.safetensors`. Directories are made as needed.
        metadata (dict, optional): More strings to keep in the file, see :func:`read_metadata`.
            (default: :obj:`None`)

    Returns:
        The path of the file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path / WEIGHTS
    config = json.dumps({"class": ghn.__class__.__name__, **ghn.config})
    state = {name: value.detach().contiguous() for name, value in ghn.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"format": "pt", **(metadata or {}), "config": config})
    return path


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
    path = _find(name_or_path)
    if _magic(path)[8:] != b"{":
        return {}
    with _open_safetensors(path) as file:
        metadata = file.metadata() or {}
    return {name: _decoded(value) for name, value in metadata.items()}


def _decoded(value: str) -> Any:
    try:
        return json.loads(value) if value.startswith("{") else value
    except ValueError:
        return value


def _find(name: str | Path) -> Path:
    """The file that a name or path stands for."""
    path = Path(name)
    if path.is_dir() and (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if path.is_file():
        return path
    packaged = {file.parent.name: file for file in sorted(PRETRAINED.glob(f"*/{WEIGHTS}"))}
    if str(name) in packaged:
        return packaged[str(name)]
    if not path.is_dir() and not path.suffix and _HUB_NAME.fullmatch(str(name)):
        return _download(str(name))
    what = f"The directory '{path}' has no {WEIGHTS}" if path.is_dir() else f"'{name}' is no file"
    raise CheckpointError(
        f"{what}, and no name of a GHN of this package: {', '.join(packaged) or 'it has none'}. "
        "Names on the Hugging Face hub have the form 'owner/name'."
    )


def _download(name: str) -> Path:
    try:
        path = Path(hf_hub_download(name, WEIGHTS))
    except (HfHubHTTPError, EntryNotFoundError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"'{name}' is no file, and no {WEIGHTS} could be had of a repository of that name on "
            f"the Hugging Face hub: {error}"
        ) from error
    with suppress(HfHubHTTPError, EntryNotFoundError):
        hf_hub_download(name, CONFIG)  # lands beside the weights; our own files do without
    return path


def _magic(path: Path) -> bytes:
    """The first bytes, which tell the kinds of file apart."""
    with path.open("rb") as file:
        return file.read(9)


@contextmanager
def _open_safetensors(path: Path, map_location: str | torch.device = "cpu") -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=str(map_location)) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"'{path}' is damaged or incomplete: {error}") from error


def _load_safetensors(path: Path, map_location: str | torch.device) -> GHN:
    with _open_safetensors(path, map_location) as file:
        config = (file.metadata() or {}).get("config")
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    beside = path.with_name(CONFIG)
    if config is None and beside.is_file():
        config = beside.read_text()
    if config is None:
        raise CheckpointError(
            f"'{path}' has no `config` in its metadata, and there is no {CONFIG} beside it; write "
            "it by `save_pretrained`."
        )
    try:
        config = dict(json.loads(config))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"The config of '{path}' is no JSON object: {error}") from error
    cls = _CLASSES.get(config.pop("class", "GHN3"))
    if cls is None:
        raise CheckpointError(f"'{path}' holds none of {', '.join(_CLASSES)}.")
    ghn = _on_meta(path, cls, config)
    return _assign(path, ghn, state, {name: name for name in ghn.state_dict()})


def _load_training(path: Path, map_location: str | torch.device) -> GHN:
    try:
        content = torch.load(path, map_location, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is damaged, or holds more than tensors and plain values: {error}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged or incomplete: {error}") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(f"'{path}' holds no dictionary with a `state_dict` of tensors.")
    config, training_name = content.get("config") or {}, str
    if not is_ours(state):
        state = unify(state)
        config, training_name = training_config(path, state, config), to_training_name
    ghn = _on_meta(path, GHN3, config)
    return _assign(path, ghn, state, {name: training_name(name) for name in ghn.state_dict()})


def _on_meta(path: Path, cls: type[GHN], config: dict[str, Any]) -> GHN:
    try:
        with torch.device("meta"):
            return cls(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The config of '{path}' makes no {cls.__name__}: {error}") from error


def _assign(path: Path, ghn: GHN, state: dict[str, Tensor], names: dict[str, str]) -> GHN:
    """Gives the tensors to the GHN without a copy. `names` are the GHN's names in the file."""
    for name, expected in ghn.state_dict().items():
        name = names[name]
        if name not in state:
            raise CheckpointError(
                f"'{path}' lacks the key '{name}' of shape {tuple(expected.shape)}."
            )
        if state[name].shape != expected.shape:
            raise CheckpointError(
                f"The key '{name}' of '{path}' has shape {tuple(state[name].shape)}, expected "
                f"{tuple(expected.shape)}."
            )
    unexpected = sorted(state.keys() - set(names.values()))
    if unexpected:
        raise CheckpointError(f"'{path}' has unexpected keys: {', '.join(unexpected)}.")
    ghn.load_state_dict({ours: state[theirs] for ours, theirs in names.items()}, assign=True)
    return ghn
