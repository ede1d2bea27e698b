r"""Pictures of graphs, of what a GHN makes of them, of an evaluation and of fine-tuning."""

from pyg_ghn._lazy import lazy

_MODULES = {
    "draw_embeddings": "pyg_ghn.drawing.plots",
    "draw_filters": "pyg_ghn.drawing.plots",
    "draw_generalization": "pyg_ghn.drawing.plots",
    "draw_graph": "pyg_ghn.drawing.graph",
    "first_convolution": "pyg_ghn.drawing.plots",
    "plot_curves": "pyg_ghn.drawing.plots",
    "plot_filters": "pyg_ghn.drawing.plots",
}

__all__ = [*_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
