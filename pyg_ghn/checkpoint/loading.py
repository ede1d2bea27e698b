r"""From a name to a graph hypernetwork."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_ghn.checkpoint.config import complete, from_their_config, ghn_class
from pyg_ghn.checkpoint.find import find
from pyg_ghn.checkpoint.formats import opened
from pyg_ghn.checkpoint.names import our_name, their_name
from pyg_ghn.checkpoint.stored import StoredGHN, StoredTensor, UnreadableError
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN

_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def from_pretrained(name_or_path: str | Path, map_location: str | torch.device = "cpu") -> GHN:
    r"""Loads a graph hypernetwork. Code in a file is never run: only tensors and plain values are
    read, by a reader that knows nothing else.

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
    path = find(name_or_path)
    try:
        with opened(path) as stored:
            return _load(stored, map_location)
    except (UnreadableError, OSError) as error:
        raise CheckpointError(f"'{path}' {error}") from error


def _load(stored: StoredGHN, device: str | torch.device) -> GHN:
    names = _file_names(stored.state)
    state = {ours: stored.state[name] for ours, name in names.items()}
    theirs = any(ours != name for ours, name in names.items())

    def file_name(ours: str) -> str:
        return names.get(ours) or (their_name(ours) if theirs else ours)

    cls = ghn_class(state, stored.config)
    if theirs:
        arguments = from_their_config(cls, stored.config)
        state = {name: _as_linear(name, tensor) for name, tensor in state.items()}
    else:
        arguments = {name: value for name, value in stored.config.items() if name != "class"}
    shapes = {name: tensor.shape for name, tensor in state.items()}
    ghn = _on_meta(cls, complete(cls, arguments, shapes, file_name))
    _check(state, ghn, file_name)
    tensors = {name: tensor.read().to(device) for name, tensor in state.items()}
    broken = [file_name(name) for name, tensor in tensors.items() if not _is_finite(tensor)]
    if broken:
        raise UnreadableError(f"has values that are not finite in {', '.join(broken)}.")
    ghn.load_state_dict(tensors, assign=True)
    return ghn


def _file_names(state: dict[str, StoredTensor]) -> dict[str, str]:
    """For each of our names the name in the file."""
    names: dict[str, str] = {}
    for name in state:
        ours = our_name(name)
        if ours in names:
            raise UnreadableError(f"holds the same tensor twice, as {names[ours]} and {name}.")
        names[ours] = name
    return names


def _as_linear(name: str, tensor: StoredTensor) -> StoredTensor:
    """A 1x1 convolution of the decoder as the linear layer that it is."""
    if not name.startswith("decoder.") or tensor.shape[2:] != (1, 1):
        return tensor
    shape = tensor.shape[:2]
    return StoredTensor(tensor.dtype, shape, lambda: tensor.read().view(shape))


def _on_meta(cls: type[GHN], arguments: dict[str, Any]) -> GHN:
    try:
        with torch.device("meta"):
            return cls(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnreadableError(f"has a config that makes no {cls.__name__}: {error}") from error


def _check(state: dict[str, StoredTensor], ghn: GHN, file_name: Callable[[str], str]) -> None:
    """Whether the tensors are those of the GHN, before any of them is read."""
    expected = ghn.state_dict()
    for name, parameter in expected.items():
        shape = tuple(parameter.shape)
        if name not in state:
            raise UnreadableError(f"lacks the key '{file_name(name)}' of shape {shape}.")
        if state[name].shape != shape:
            raise UnreadableError(
                f"has the key '{file_name(name)}' of shape {state[name].shape}, expected {shape}."
            )
    unexpected = sorted(file_name(name)[:200] for name in state.keys() - expected.keys())
    if unexpected:
        more = f" and {len(unexpected) - 5} more" if len(unexpected) > 5 else ""
        raise UnreadableError(f"has unexpected keys: {', '.join(unexpected[:5])}{more}.")
    dtypes = {tensor.dtype for tensor in state.values()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES:
        raise UnreadableError(
            "has tensors that are not all of one type, float32, float64, float16 or bfloat16."
        )


def _is_finite(tensor: Tensor) -> bool:
    if tensor.sum().isfinite():
        return True
    # The sum can be too large for its type. By parts, as this makes copies.
    return all(part.isfinite().all() for part in tensor.flatten().split(1 << 20))
