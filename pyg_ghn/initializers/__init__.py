from pyg_ghn.initializers.mimetic import initialize_mimetic
from pyg_ghn.initializers.scales import initialize_gradinit, initialize_nio
from pyg_ghn.initializers.weight_selection import select_weights
from pyg_ghn.initializers.weights import noisy, orthogonal

__all__ = [
    "initialize_gradinit",
    "initialize_mimetic",
    "initialize_nio",
    "noisy",
    "orthogonal",
    "select_weights",
]
