r"""Data sets of architectures."""

from pyg_ghn._lazy import lazy

_MODULES = {
    "DeepNets1M": "pyg_ghn.datasets.deepnets1m",
    "NetworkTable": "pyg_ghn.datasets.table",
    "TorchvisionModels": "pyg_ghn.datasets.torchvision_models",
}

__all__ = [*_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
