r"""Graph hypernetworks for PyTorch Geometric: predict the parameters of unseen networks."""

from pyg_ghn._lazy import lazy
from pyg_ghn._version import __version__

_MODULES = {
    "GHN": "pyg_ghn.nn",
    "GHN2": "pyg_ghn.nn",
    "GHN3": "pyg_ghn.nn",
    "Prediction": "pyg_ghn.nn",
    "PredictionReport": "pyg_ghn.nn",
    "calibrate": "pyg_ghn.calibration",
    "from_pretrained": "pyg_ghn.checkpoint",
    "initialize": "pyg_ghn.initialization",
    "save_pretrained": "pyg_ghn.checkpoint",
}

__all__ = ["__version__", *_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
