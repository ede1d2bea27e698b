from pyg_ghn.graph.convert import from_module
from pyg_ghn.graph.primitives import PRIMITIVES

__all__ = ["PRIMITIVES", "from_module"]
