from pyg_ghn._version import __version__

__all__ = ["__version__"]
