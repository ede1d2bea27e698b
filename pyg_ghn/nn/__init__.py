from pyg_ghn.nn.attention_bias import AttentionBias, PairBias, to_dense_pairs
from pyg_ghn.nn.decoder import ParameterDecoder
from pyg_ghn.nn.encodings import CentralityEncoding, ShapeEncoding
from pyg_ghn.nn.gated_dag_conv import GatedDAGConv
from pyg_ghn.nn.ghn import GHN, GHN3
from pyg_ghn.nn.ghn2 import GHN2, GHNMLP
from pyg_ghn.nn.ghn3_conv import GHN3Conv
from pyg_ghn.nn.prediction import Prediction
from pyg_ghn.nn.report import ParameterReport, PredictionReport, Status
from pyg_ghn.nn.shortest_path_bias import ShortestPathBias

__all__ = [
    "GHN",
    "GHN2",
    "GHN3",
    "GHNMLP",
    "AttentionBias",
    "CentralityEncoding",
    "GHN3Conv",
    "GatedDAGConv",
    "PairBias",
    "ParameterDecoder",
    "ParameterReport",
    "Prediction",
    "PredictionReport",
    "ShapeEncoding",
    "ShortestPathBias",
    "Status",
    "to_dense_pairs",
]
