"""The version of the package and of what its results depend on."""

import platform
from importlib.metadata import version

__version__ = "0.2.0"

_PACKAGES = ("torch", "torchvision", "torch_geometric", "numpy")


def versions() -> dict[str, str]:
    """The versions that belong beside every result."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"pyg_ghn": __version__, "python": platform.python_version(), **packages}
