r"""The names of parameters in the authors' checkpoints."""

import re

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
    return _renamed(name, _MODULES, r"gnn\.(\d+)\.", "gnn.*.")


def their_name(name: str) -> str:
    return _renamed(name, _OUR_MODULES, r"convs\.(\d+)\.", "convs.*.")


def _renamed(name: str, modules: dict[str, str], layer: str, pattern: str) -> str:
    module, _, leaf = name.rpartition(".")
    if module in modules:
        return f"{modules[module]}.{leaf}"
    number = re.match(layer, module)
    if number and pattern + module[number.end() :] in modules:
        renamed = modules[pattern + module[number.end() :]]
        return f"{renamed.replace('*', number[1])}.{leaf}"
    return name
