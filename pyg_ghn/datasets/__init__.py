r"""Data sets of architectures, and the files they are kept in."""

from pyg_ghn._lazy import lazy_getattr

_MODULES = {
    "DeepNets1M": "pyg_ghn.datasets.deepnets1m",
    "NetworkBatchSampler": "pyg_ghn.datasets.loader",
    "NetworkLoader": "pyg_ghn.datasets.loader",
    "NetworkRecord": "pyg_ghn.datasets.record",
    "Store": "pyg_ghn.datasets.store",
    "StoreWriter": "pyg_ghn.datasets.store",
    "TorchvisionModels": "pyg_ghn.datasets.torchvision_models",
}

__all__ = [*_MODULES]
__getattr__ = lazy_getattr(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
