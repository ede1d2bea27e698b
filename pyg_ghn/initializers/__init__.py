from pyg_ghn.initializers.noise import noisy
from pyg_ghn.initializers.orthogonal import orthogonal

__all__ = ["noisy", "orthogonal"]
