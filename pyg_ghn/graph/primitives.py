r"""The 15 node types of a computational graph."""

PRIMITIVES: tuple[str, ...] = (
    "max_pool",
    "avg_pool",
    "sep_conv",  # grouped convolution without dilation
    "dil_conv",  # grouped convolution with dilation
    "conv",  # any other convolution and every linear weight
    "msa",  # multi-head self-attention
    "cse",  # channel-wise gate, e.g. squeeze-and-excitation
    "sum",
    "concat",
    "input",
    "bias",
    "bn",  # batch, group and instance normalization
    "ln",  # layer and RMS normalization
    "pos_enc",  # position embedding
    "glob_avg",  # global average pooling
)
r"""Node types in the order of the rows of a GHN's operation embedding
(`"Parameter Prediction for Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_)."""

PRIMITIVE_INDEX: dict[str, int] = {name: index for index, name in enumerate(PRIMITIVES)}
