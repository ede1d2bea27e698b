r"""From a name to a graph hypernetwork."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pyg_ghn.checkpoint.config import (
    complete,
    from_their_config,
    ghn_class,
    our_name,
    their_name,
    unwrapped,
)
from pyg_ghn.checkpoint.pickles import UnreadableError, read_pickled
from pyg_ghn.errors import CheckpointError, expect
from pyg_ghn.nn import GHN
from pyg_ghn.nn.report import shortened

WEIGHTS = "model.safetensors"
CONFIG = "config.json"  # beside weights without a config of their own
PRETRAINED = Path(__file__).parents[1] / "pretrained"

# The files that the authors of GHN-3 released, and the repository on the hub that has them.
RELEASED = ("ghn3tm8.pt", "ghn3sm8.pt", "ghn3lm8.pt", "ghn3xlm16.pt")
_RELEASED_REPOSITORY = "SamsungSAILMontreal/ghn3"

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = frozenset((".bin", ".ckpt", ".joblib", ".pkl", ".pt", ".pth", ".safetensors"))

CHECKSUM = "crc32"  # in the metadata of our files
_MAX_CONFIG = 1 << 20
_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def from_pretrained(name_or_path: str | Path, map_location: str | torch.device = "cpu") -> GHN:
    r"""Loads a graph hypernetwork. Code in a file is never run: only tensors and plain values are
    read.

    Args:
        name_or_path (str or Path): One of

            - a :obj:`.safetensors` file, such as :func:`save_pretrained` writes, with the config in
              its metadata or in a :obj:`config.json` beside it, or a directory with a
              :obj:`model.safetensors`,
            - a training checkpoint of GHN-3 or GHN-2, ours or the authors', or a released GHN-2: a
              :obj:`torch.save` file of state dict and config,
            - a released GHN-3: a state dict written by joblib, compressed or not,
            - the name of a GHN that comes with this package,
            - the name of a repository on the Hugging Face hub, :obj:`"owner/name"`, with a
              :obj:`model.safetensors`, or of a released GHN-3: :obj:`"ghn3tm8.pt"`,
              :obj:`"ghn3sm8.pt"`, :obj:`"ghn3lm8.pt"` or :obj:`"ghn3xlm16.pt"`.
        map_location (str or torch.device, optional): The device to load to.
            (default: :obj:`"cpu"`)

    Raises:
        CheckpointError: If there is no such file, or it cannot be read, or does not fit.
    """
    expect(name_or_path, (str, Path), "name_or_path")
    path = find(name_or_path)
    with naming(path):
        if is_safetensors(path):
            state, config = _read_safetensors(path)
        else:
            state, config = _parts(*read_pickled(path))
        return _ghn(state, config, map_location)


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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    r"""Makes a :class:`~pyg_ghn.errors.CheckpointError` that names the file of what goes wrong."""
    try:
        yield
    except (UnreadableError, SafetensorError, OSError) as error:
        what = f"is damaged or incomplete: {error}" if type(error) is SafetensorError else error
        raise CheckpointError(f"'{path}' {what}") from error


def is_safetensors(path: Path) -> bool:
    r"""Whether the file starts as safetensors do: eight bytes of length, less than a terabyte, and
    a JSON object. A shorter length can look like the first bytes of any other kind of file."""
    with path.open("rb") as file:
        return file.read(9)[5:] == b"\0\0\0{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, mapped into memory, and the config."""
    with safe_open(path, framework="pt") as weights:
        metadata = weights.metadata() or {}
        state = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum_of(state, metadata):
        raise UnreadableError("is damaged: its content does not match its checksum. Get it again.")
    config, beside = metadata.get("config"), path.with_name(CONFIG)
    if config is None and beside.is_file():
        with beside.open("rb") as file:
            config = file.read(_MAX_CONFIG + 1)
    if config and len(config) > _MAX_CONFIG:
        raise UnreadableError(f"has a config of more than {_MAX_CONFIG:,} bytes.")
    try:
        return state, {**json.loads(config or "{}")}
    except (ValueError, TypeError, RecursionError) as error:
        raise UnreadableError(f"has a config that is no JSON object: {error}.") from error


def checksum_of(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    r"""The CRC-32 of tensors and metadata, as it is kept in the metadata."""
    described = {name: (str(t.dtype), list(t.shape)) for name, t in sorted(state.items())}
    others = {key: value for key, value in metadata.items() if key != CHECKSUM}
    crc = zlib.crc32(json.dumps([described, others], sort_keys=True).encode())
    for name in described:
        crc = zlib.crc32(state[name].detach().cpu().reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def _parts(content: Any, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and config of what a pickle holds: both, or a bare state dict."""
    content = _plain(content) or {}
    bare = content and all(isinstance(value, Tensor) for value in content.values())
    state = content if bare else _plain(content.get("state_dict"))
    config = _plain((None if bare else content.get("config")) or {})
    if state is None or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UnreadableError("holds no `state_dict` of tensors.")
    if config is None:
        raise UnreadableError("has a `config` that is no dictionary.")
    if of_tensors := [key for key, value in config.items() if isinstance(value, Tensor)]:
        raise UnreadableError(f"has a config whose `{str(of_tensors[0])[:200]}` is a tensor.")
    if sum(prod(t.shape) * t.itemsize for t in state.values()) > size:
        raise UnreadableError("is damaged: it describes more numbers than it holds.")
    return {str(name): _alone(tensor.detach()) for name, tensor in state.items()}, config


def _plain(value: Any) -> dict | None:
    """A dictionary without attributes, which a file may have set in place of its methods."""
    return dict(dict.items(value)) if isinstance(value, dict) else None


def _alone(tensor: Tensor) -> Tensor:
    """A tensor that keeps no larger one in memory."""
    whole = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor.contiguous() if whole else tensor.clone(memory_format=torch.contiguous_format)


def _ghn(state: dict[str, Tensor], config: dict[str, Any], device: str | torch.device) -> GHN:
    names: dict[str, str] = {}  # in the file, by ours
    theirs = False
    for name in state:
        ours = our_name(plain := unwrapped(name))
        if ours in names:
            raise UnreadableError(f"holds the same tensor twice, as {names[ours]} and {name}.")
        names[ours] = name
        theirs |= ours != plain

    def file_name(ours: str) -> str:
        return names.get(ours) or (their_name(ours) if theirs else ours)

    state = {ours: state[name] for ours, name in names.items()}
    cls = ghn_class(state, config)
    if theirs:
        arguments = from_their_config(cls, config)
        for name, tensor in state.items():
            # The decoder's linear layers may be stored as 1x1 convolutions.
            if name.startswith("decoder.") and tensor.shape[2:] == (1, 1):
                state[name] = tensor.flatten(1)
    else:
        arguments = {name: value for name, value in config.items() if name != "class"}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    arguments = complete(cls, arguments, shapes, file_name)
    try:
        with torch.device("meta"):
            ghn = cls(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnreadableError(f"has a config that makes no {cls.__name__}: {error}") from error
    for name, parameter in (expected := ghn.state_dict()).items():
        shape = tuple(parameter.shape)
        if name not in state:
            raise UnreadableError(f"lacks the key '{file_name(name)}' of shape {shape}.")
        if state[name].shape != shape:
            raise UnreadableError(
                f"has the key '{file_name(name)}' of shape {tuple(state[name].shape)}, expected "
                f"{shape}."
            )
    unexpected = sorted(file_name(name)[:200] for name in state.keys() - expected.keys())
    if unexpected:
        raise UnreadableError(f"has unexpected keys: {shortened(unexpected)}.")
    dtypes = {tensor.dtype for tensor in state.values()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES:
        raise UnreadableError(
            "has tensors that are not all of one type, float32, float64, float16 or bfloat16."
        )
    # A finite sum is proof enough, but can be too large for its type. By parts, as this copies.
    broken = [
        file_name(name)
        for name, tensor in state.items()
        if not tensor.sum().isfinite()
        and not all(part.isfinite().all() for part in tensor.flatten().split(1 << 20))
    ]
    if broken:
        raise UnreadableError(f"has values that are not finite in {', '.join(broken)}.")
    ghn.load_state_dict({n: tensor.to(device) for n, tensor in state.items()}, assign=True)
    return ghn
