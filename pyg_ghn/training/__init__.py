from pyg_ghn._lazy import lazy_getattr
from pyg_ghn.training.config import TrainConfig

_MODULES = {
    "MetaTrainer": "pyg_ghn.training.trainer",
    "NetworkStream": "pyg_ghn.training.stream",
    "TrainingNetwork": "pyg_ghn.training.stream",
    "launch": "pyg_ghn.training.launcher",
    "meta_loss": "pyg_ghn.training.loss",
    "parameter_norm": "pyg_ghn.training.loss",
    "train": "pyg_ghn.training.trainer",
}

__all__ = ["TrainConfig", *_MODULES]
__getattr__ = lazy_getattr(__name__, _MODULES)
