from pyg_ghn._lazy import lazy
from pyg_ghn.training.config import FinetuneConfig, TrainConfig

_MODULES = {
    "FinetuneResult": "pyg_ghn.training.finetuning",
    "MetaTrainer": "pyg_ghn.training.trainer",
    "NetworkStream": "pyg_ghn.training.stream",
    "TrainingNetwork": "pyg_ghn.training.stream",
    "compare": "pyg_ghn.training.finetuning",
    "finetune": "pyg_ghn.training.finetuning",
    "launch": "pyg_ghn.training.trainer",
    "meta_loss": "pyg_ghn.training.loss",
    "search": "pyg_ghn.training.finetuning",
    "train": "pyg_ghn.training.trainer",
}

__all__ = ["FinetuneConfig", "TrainConfig", *_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
