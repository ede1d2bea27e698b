r"""Which GHN a checkpoint holds, by its tensors and its config, in our names or the authors'."""

import re
from collections.abc import Callable, Collection, Mapping
from inspect import signature
from math import isqrt
from typing import Any

from pyg_ghn.checkpoint.pickles import UnreadableError
from pyg_ghn.nn import GHN, GHN2, GHN3, GHNMLP

CLASSES: dict[str, type[GHN]] = {cls.__name__: cls for cls in (GHN2, GHN3, GHNMLP)}

# Modules that only one class has.
_PARTS = {
    "centrality_encoding": GHN3,
    "convs": GHN3,
    "node_mlp": GHN3,
    "path_bias": GHN3,
    "conv": GHN2,
    "mlp": GHNMLP,
}
# Keys of the authors' configs and our arguments.
_ARGUMENTS = {
    "max_shape": "max_shape",
    "num_classes": "num_classes",
    "hid": "hidden_channels",
    "layers": "num_layers",
    "heads": "heads",
    "layernorm": "layer_norm",
    "weight_norm": "weight_norm",
    "ve": "virtual_edges",
}
# Relatives of GHNs that cannot be read, by the start of some of their keys, or a key of the config.
_RELATIVES = (
    (
        ("decoder.l2.", "decoder.seq."),
        ("lora",),
        "holds a LoGAH, whose decoder makes parameters as products of low-rank factors; no GHN of "
        "this package has such a decoder. Predict with the LoGAH code.",
    ),
    (
        ("edge_proj.", "edge_out.", "edge_mlp.", "node_proj.", "wte_pos_enc_layer."),
        ("max_feat_size", "dms"),
        "holds a NiNo, which extrapolates parameters from earlier steps of a training run; a GHN "
        "predicts them from the architecture alone. Predict with the NiNo code.",
    ),
    (
        ("decoder.mlp.",),
        (),
        "holds a GHN with the MLP decoder (decoder='mlp'), an ablation that this version does not "
        "read; GHN-1, GHN-2 and GHN-3 have the other one (decoder='conv').",
    ),
)
_CENTRALITY = "centrality_encoding"
_MAX_LAYERS = 1000  # building more takes very long, even without memory
_KINDS = {bool: "true or false", int: "a number", tuple: "a shape", str: "a name"}
_HYPERNETS = {GHN2: "gatedgnn", GHNMLP: "mlp"}


def ghn_class(names: Collection[str], config: Mapping[str, Any]) -> type[GHN]:
    """The class that has parameters of these names, if the config names no other."""
    for starts, keys, what in _RELATIVES:
        if any(config.get(key) for key in keys) or any(name.startswith(starts) for name in names):
            raise UnreadableError(what)
    parts = {name.partition(".")[0] for name in names}
    found = {cls.__name__: cls for part, cls in _PARTS.items() if part in parts}
    if len(found) != 1:
        what = f"mixes the tensors of {' and '.join(found)}" if found else "holds no GHN"
        raise UnreadableError(f"{what}; this version reads {', '.join(CLASSES)}.")
    ((name, cls),) = found.items()
    if config.get("class", name) != name:
        raise UnreadableError(f"holds the tensors of a {name}, but its config names another class.")
    return cls


def from_their_config(cls: type[GHN], config: Mapping[str, Any]) -> dict[str, Any]:
    """Our arguments in a config of the authors' code, which may lack any of them."""
    kind = {"decoder": "conv", "hypernet": _HYPERNETS.get(cls)}
    if cls is GHN3 or config.get("ve"):  # GHN-1, without virtual edges, is a GHN2 to this package
        kind["is_ghn2"] = cls is not GHN3
    for key, expected in kind.items():
        value = config.get(key)
        if expected is not None and value is not None and value != expected:
            raise UnreadableError(
                f"has a config whose `{key}` is not {expected!r}, as it is in every {cls.__name__} "
                "that this version reads."
            )
    arguments = {ours: config.get(theirs) for theirs, ours in _ARGUMENTS.items()}
    if cls is GHN3 and arguments["virtual_edges"] == 0:
        arguments["cutoff"] = 1  # what is left of path lengths
    taken = signature(cls).parameters
    return {name: value for name, value in arguments.items() if name in taken and value is not None}


def complete(
    cls: type[GHN],
    arguments: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    file_name: Callable[[str], str],
) -> dict[str, Any]:
    """The arguments of a GHN with tensors of these shapes under our names, which must agree with
    those that its config gives. ``file_name`` tells the name in the file for one of ours."""

    def matrix(name: str) -> tuple[int, int]:
        if name not in shapes:
            raise UnreadableError(f"lacks the key '{file_name(name)}'.")
        if len(shapes[name]) != 2 or not all(shapes[name]):
            raise UnreadableError(
                f"has the key '{file_name(name)}' of shape {shapes[name]}: no matrix."
            )
        return shapes[name]

    _, channels = matrix("op_embedding.weight")
    num_classes, out = matrix("decoder.class_kernel.weight")
    side = isqrt(matrix("decoder.position.weight")[0] // (4 * channels))
    sizes = {
        "hidden_channels": channels,
        "max_shape": (out, matrix("decoder.kernel.2.weight")[0] // out, side, side),
        "num_classes": num_classes,
        "layer_norm": "norm.weight" in shapes,
    }
    if cls is GHN3:
        layers = {name.split(".")[1] for name in shapes if name.startswith("convs.")}
        if len(layers) > _MAX_LAYERS:
            raise UnreadableError(f"has {len(layers)} layers, of which a GHN has a few dozen.")
        parts = {name.rpartition(".")[0] for name in shapes}
        sizes |= {
            "num_layers": len(layers),
            "edge_bias": "none",
            "centrality": bool({f"{_CENTRALITY}.in_degree", f"{_CENTRALITY}.out_degree"} & parts),
            "input_distance": f"{_CENTRALITY}.input_distance" in parts,
        }
        if any(part.startswith("path_bias") for part in parts):
            both = matrix("path_bias.phi.0.weight")[1] != channels
            sizes["edge_bias"] = "both" if both else "forward"
            sizes["heads"] = matrix("path_bias.phi.2.weight")[0]
        elif layers and "heads" not in arguments:
            raise UnreadableError(
                "has no edge bias, whose tensors tell the number of heads, and no config with "
                "`heads`."
            )
    if cls is GHN2:
        sizes["virtual_edges"] = any(name.startswith("conv.mlps.1.") for name in shapes)

    taken = signature(cls).parameters
    for name, value in arguments.items():
        if name not in taken:
            raise UnreadableError(
                f"has a config with `{str(name)[:200]}`, which {cls.__name__} does not take."
            )
        # Values of other kinds can be made such that comparing or printing them takes forever.
        kind = type(taken[name].default)
        valid = type(value) is kind  # True is an int too
        if kind is tuple:
            valid = isinstance(value, (list, tuple)) and [*map(type, value)] == [int] * 4
            value = tuple(value) if valid else value
        if not valid:
            raise UnreadableError(f"has a config whose `{name}` is not {_KINDS[kind]}.")
        if value != sizes.get(name, value):
            raise UnreadableError(
                f"contradicts itself: its config has {name} = {arguments[name]}, its tensors have "
                f"{sizes[name]}."
            )
    return {**arguments, **sizes}


# Their modules and ours; * is the number of a layer.
_MODULES = {
    "embed": "op_embedding",
    "shape_enc.embed_channel": "shape_encoding.channel",
    "shape_enc.embed_spatial": "shape_encoding.kernel",
    "centrality_embed_in": "centrality_encoding.in_degree",
    "centrality_embed_out": "centrality_encoding.out_degree",
    "input_dist_embed": "centrality_encoding.input_distance",
    # Files that training writes have these three in the first layer.
    "gnn.0.centrality_embed_in": "centrality_encoding.in_degree",
    "gnn.0.centrality_embed_out": "centrality_encoding.out_degree",
    "gnn.0.input_dist_embed": "centrality_encoding.input_distance",
    "gnn.0.attn.edge_embed.embed": "path_bias.distance",
    "gnn.0.attn.proj_e.0": "path_bias.phi.0",
    "gnn.0.attn.proj_e.2": "path_bias.phi.2",
    "gnn.*.ln1": "convs.*.norm1",
    "gnn.*.attn.to_qkv": "convs.*.qkv",
    "gnn.*.attn.to_out.0": "convs.*.out",
    "gnn.*.ln2": "convs.*.norm2",
    "gnn.*.ff.net.0": "convs.*.mlp.0",
    "gnn.*.ff.net.3": "convs.*.mlp.2",
    "gnn.mlp.fc.0": "conv.mlps.0.0",
    "gnn.mlp.fc.2": "conv.mlps.0.2",
    "gnn.mlp_ve.fc.0": "conv.mlps.1.0",
    "gnn.mlp_ve.fc.2": "conv.mlps.1.2",
    "gnn.gru": "conv.gru",
    "gnn.fc.0": "mlp.0",
    "gnn.fc.2": "mlp.2",
    "ln": "norm",
    "decoder.fc.0": "decoder.position",
    "decoder.conv.0": "decoder.kernel.0",
    "decoder.conv.2": "decoder.kernel.2",
    "decoder.class_layer_predictor.1": "decoder.class_kernel",
    "decoder_1d.fc.0": "decoder.vector.0",
    "decoder_1d.fc.2": "decoder.vector.2",
    "bias_class.1": "decoder.class_bias",
}

_OUR_MODULES = {ours: theirs for theirs, ours in reversed(_MODULES.items())}


def unwrapped(name: str) -> str:
    r"""The name without what :func:`torch.compile` and wrappers for several devices add."""
    return re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))


def our_name(name: str) -> str:
    r"""Our name of one of their parameters. Other names stay as they are."""
    return _renamed(name, _MODULES)


def their_name(name: str) -> str:
    return _renamed(name, _OUR_MODULES)


def _renamed(name: str, modules: dict[str, str]) -> str:
    module, _, leaf = name.rpartition(".")
    layer = re.search(r"\d+", module)
    renamed = modules.get(module) or modules.get(re.sub(r"\d+", "*", module, count=1))
    if renamed is None:
        return name
    return f"{renamed.replace('*', layer[0]) if layer else renamed}.{leaf}"
