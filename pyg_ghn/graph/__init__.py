from pyg_ghn._lazy import lazy_getattr

_MODULES = {
    "PRIMITIVES": "pyg_ghn.graph.primitives",
    "from_module": "pyg_ghn.graph.convert",
}

__all__ = [*_MODULES]
__getattr__ = lazy_getattr(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
