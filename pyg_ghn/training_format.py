r"""The checkpoints that the authors' training code writes."""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from pyg_ghn.errors import CheckpointError

# Our modules and theirs; * is the number of a layer.
_NAMES = {
    "op_embedding": "embed",
    "shape_encoding.channel": "shape_enc.embed_channel",
    "shape_encoding.kernel": "shape_enc.embed_spatial",
    "centrality_encoding.in_degree": "centrality_embed_in",
    "centrality_encoding.out_degree": "centrality_embed_out",
    "centrality_encoding.input_distance": "input_dist_embed",
    "path_bias.distance": "gnn.0.attn.edge_embed.embed",
    "path_bias.phi.0": "gnn.0.attn.proj_e.0",
    "path_bias.phi.2": "gnn.0.attn.proj_e.2",
    "convs.*.norm1": "gnn.*.ln1",
    "convs.*.qkv": "gnn.*.attn.to_qkv",
    "convs.*.out": "gnn.*.attn.to_out.0",
    "convs.*.norm2": "gnn.*.ln2",
    "convs.*.mlp.0": "gnn.*.ff.net.0",
    "convs.*.mlp.2": "gnn.*.ff.net.3",
    "norm": "ln",
    "decoder.position": "decoder.fc.0",
    "decoder.kernel.0": "decoder.conv.0",
    "decoder.kernel.2": "decoder.conv.2",
    "decoder.class_kernel": "decoder.class_layer_predictor.1",
    "decoder.vector.0": "decoder_1d.fc.0",
    "decoder.vector.2": "decoder_1d.fc.2",
    "decoder.class_bias": "bias_class.1",
}
# At top level in released files, in the first layer in files that training writes.
_NODE_TABLES = re.compile(r"gnn\.0\.(centrality_embed_in|centrality_embed_out|input_dist_embed)\.")
_UNSUPPORTED = ("weight_norm", "ve")  # where switched off
_GHN2_KEYS = ("gnn.mlp", "gnn.gru")
_GHN2_HYPERNETS = ("gatedgnn", "mlp")


def is_ours(state: dict[str, Tensor]) -> bool:
    r"""Whether a state dict has the names of our modules."""
    return "op_embedding.weight" in state


def unify(state: dict[str, Tensor]) -> dict[str, Tensor]:
    r"""The state dict with the node tables at top level."""
    return {_NODE_TABLES.sub(r"\1.", name): value for name, value in state.items()}


def to_training_name(name: str) -> str:
    r"""Their name of one of our parameters."""
    module, _, leaf = name.rpartition(".")
    layer = re.search(r"(?<=convs\.)\d+", module)
    if layer is None:
        return f"{_NAMES[module]}.{leaf}"
    return f"{_NAMES[module.replace(layer[0], '*', 1)].replace('*', layer[0])}.{leaf}"


def training_config(path: Path, state: dict[str, Tensor], config: dict) -> dict[str, Any]:
    r"""The arguments of :class:`~pyg_ghn.nn.GHN3`. What their config does not tell is read off the
    tensors of the unified state dict.

    Raises:
        CheckpointError: If the file holds another kind of GHN, or lacks a tensor.
    """
    is_ghn2 = config.get("is_ghn2") or config.get("hypernet") in _GHN2_HYPERNETS
    if is_ghn2 or any(name.startswith(_GHN2_KEYS) for name in state):
        raise CheckpointError(f"'{path}' holds a GHN-2, which is not supported by this version.")
    for name in _UNSUPPORTED:
        if config.get(name) is False:
            raise CheckpointError(f"'{path}' was trained with {name}=False: not supported.")
    sizes = _sizes(path, state)
    names = {"hidden_channels": "hid", "num_layers": "layers"}
    sizes |= {ours: config.get(names.get(ours, ours), size) for ours, size in sizes.items()}
    return {**sizes, "layer_norm": "ln.weight" in state}


def _sizes(path: Path, state: dict[str, Tensor]) -> dict[str, Any]:
    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(f"'{path}' lacks the key '{name}'.")
        sizes = tuple(state[name].shape)
        if len(sizes) != 2:
            raise CheckpointError(f"The key '{name}' of '{path}' has shape {sizes}: no matrix.")
        return sizes

    channels = shape("embed.weight")[1]
    num_classes, out = shape("decoder.class_layer_predictor.1.weight")
    side = isqrt(shape("decoder.fc.0.weight")[0] // (4 * channels))
    layers = [re.fullmatch(r"gnn\.(\d+)\.ln1\.weight", name) for name in state]
    return {
        "hidden_channels": channels,
        "num_layers": sum(layer is not None for layer in layers),
        "heads": shape("gnn.0.attn.proj_e.2.weight")[0],
        "max_shape": (out, shape("decoder.conv.2.weight")[0] // out, side, side),
        "num_classes": num_classes,
    }
