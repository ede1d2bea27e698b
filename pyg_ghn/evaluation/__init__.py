from pyg_ghn.evaluation.accuracy import accuracy, batch_statistics
from pyg_ghn.evaluation.generalization import DEFAULT_SPLITS, evaluate_ghn, evaluate_network
from pyg_ghn.evaluation.result import GeneralizationResult, NetworkResult
from pyg_ghn.evaluation.splits import TORCHVISION_NETWORKS
from pyg_ghn.evaluation.verify import NormCheck, published_norms, read_norms, verify

__all__ = [
    "DEFAULT_SPLITS",
    "TORCHVISION_NETWORKS",
    "GeneralizationResult",
    "NetworkResult",
    "NormCheck",
    "accuracy",
    "batch_statistics",
    "evaluate_ghn",
    "evaluate_network",
    "published_norms",
    "read_norms",
    "verify",
]
