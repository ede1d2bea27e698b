from pyg_ghn._lazy import lazy_getattr
from pyg_ghn.evaluation.accuracy import accuracy, batch_statistics
from pyg_ghn.evaluation.generalization import DEFAULT_SPLITS, evaluate_ghn
from pyg_ghn.evaluation.result import GeneralizationResult, NetworkResult
from pyg_ghn.evaluation.splits import TORCHVISION_NETWORKS

__all__ = [
    "DEFAULT_SPLITS",
    "TORCHVISION_NETWORKS",
    "GeneralizationResult",
    "NetworkResult",
    "accuracy",
    "batch_statistics",
    "draw_embeddings",
    "draw_filters",
    "evaluate_ghn",
    "first_convolution",
    "plot_generalization",
]

# They live in `pyg_ghn.drawing`, which imports this package, and were here once.
_PICTURES = ("draw_embeddings", "draw_filters", "first_convolution", "plot_generalization")
__getattr__ = lazy_getattr(__name__, dict.fromkeys(_PICTURES, "pyg_ghn.drawing"))
