r"""Graph hypernetworks for PyTorch Geometric: predict the parameters of unseen networks."""

import importlib

from pyg_ghn._version import __version__

_PUBLIC = {
    "GHN": "pyg_ghn.nn",
    "GHN3": "pyg_ghn.nn",
    "from_pretrained": "pyg_ghn.checkpoint",
    "save_pretrained": "pyg_ghn.checkpoint",
    "initialize": "pyg_ghn.initialize",
}

__all__ = ["GHN", "GHN3", "__version__", "from_pretrained", "initialize", "save_pretrained"]


def __getattr__(name: str):
    """Imports on first use: torch and PyG take seconds, ``pyg-ghn --help`` should not."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pyg_ghn' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value  # the module pyg_ghn.initialize bears the name of its function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
