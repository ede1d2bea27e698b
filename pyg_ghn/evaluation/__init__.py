from pyg_ghn.calibration import batch_statistics
from pyg_ghn.evaluation.diversity import Diversity, diversity, effective_rank, layer_statistics
from pyg_ghn.evaluation.generalization import (
    DEFAULT_SPLITS,
    TORCHVISION_NETWORKS,
    EvaluationNetwork,
    accuracy,
    evaluate_ghn,
    evaluate_network,
    evaluation_networks,
)
from pyg_ghn.evaluation.properties import (
    PropertyPrediction,
    graph_embeddings,
    node_embeddings,
    predict_property,
)
from pyg_ghn.evaluation.proxies import PROXIES, activation_variances, score
from pyg_ghn.evaluation.ranks import (
    PairedComparison,
    RankCorrelation,
    compare_pairs,
    rank_correlation,
)
from pyg_ghn.evaluation.result import GeneralizationResult, NetworkResult
from pyg_ghn.evaluation.verify import NormCheck, published_norms, read_norms, verify

__all__ = [
    "DEFAULT_SPLITS",
    "PROXIES",
    "TORCHVISION_NETWORKS",
    "Diversity",
    "EvaluationNetwork",
    "GeneralizationResult",
    "NetworkResult",
    "NormCheck",
    "PairedComparison",
    "PropertyPrediction",
    "RankCorrelation",
    "accuracy",
    "activation_variances",
    "batch_statistics",
    "compare_pairs",
    "diversity",
    "effective_rank",
    "evaluate_ghn",
    "evaluate_network",
    "evaluation_networks",
    "graph_embeddings",
    "layer_statistics",
    "node_embeddings",
    "predict_property",
    "published_norms",
    "rank_correlation",
    "read_norms",
    "score",
    "verify",
]
