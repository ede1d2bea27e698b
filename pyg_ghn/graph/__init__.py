from pyg_ghn._lazy import lazy

_MODULES = {
    "PRIMITIVES": "pyg_ghn.graph.primitives",
    "from_module": "pyg_ghn.graph.convert",
}

__all__ = [*_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
