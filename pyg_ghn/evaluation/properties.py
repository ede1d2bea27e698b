r"""Properties of networks, predicted from what a GHN makes of their graphs."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import GHN


@torch.no_grad()
def node_embeddings(ghn: GHN, graph: Data) -> Tensor:
    r"""The embeddings :math:`[N, C]` of a graph's nodes that a GHN decodes parameters from.

    Args:
        ghn (GHN): The graph hypernetwork.
        graph (Data): The graph, as :func:`~pyg_ghn.graph.from_module` makes it.
    """
    data = ghn.transform(graph)
    return ghn.embed(data, [shape and tuple(shape) for shape in data.param_shape]).float()


def graph_embeddings(ghn: GHN, graphs: Iterable[Data]) -> np.ndarray:
    r"""The mean of the node embeddings of each graph, as rows of a matrix.

    Args:
        ghn (GHN): The graph hypernetwork.
        graphs (iterable): Computational graphs, as :func:`~pyg_ghn.graph.from_module` makes them.
    """
    return np.stack([node_embeddings(ghn, graph).mean(0).numpy(force=True) for graph in graphs])


class PropertyPrediction(NamedTuple):
    r"""How well a property is predicted for networks left out.

    Attributes:
        predicted: For each network, by the model that was fitted without it.
        taus: Kendall's tau-b of predicted and true values within each fold; 0 where all
            predictions are the same.
    """

    predicted: np.ndarray
    taus: list[float]

    @property
    def tau(self) -> float:
        r"""The mean over folds."""
        return sum(self.taus) / len(self.taus)


def predict_property(
    embeddings: np.ndarray,
    values: Sequence[float],
    method: str = "svr",
    folds: int = 5,
    seed: int = 0,
) -> PropertyPrediction:
    r"""Predicts a property of networks, such as accuracy, number of parameters or inference time,
    from embeddings of their graphs by a regression (Section 4.3 of the `"Parameter Prediction for
    Unseen Deep Architectures" <https://arxiv.org/abs/2110.13100>`_ paper), in cross-validation.
    Embeddings and values are standardized, and the regression's own parameters chosen by another
    cross-validation among the networks that it is fitted to.

    Args:
        embeddings (numpy.ndarray): A row for each network, see :func:`graph_embeddings`.
        values (sequence): The property. One of several orders of magnitude is predicted better by
            its logarithm.
        method (str, optional): :obj:`"svr"` for support vectors with a Gaussian kernel or
            :obj:`"ridge"`. (default: :obj:`"svr"`)
        folds (int, optional): The number of folds. (default: :obj:`5`)
        seed (int, optional): Seed of the division into folds. (default: :obj:`0`)

    Raises:
        ConfigError: If the method is unknown, a number is not finite, or there are less than two
            networks in a fold.
    """
    from scipy.stats import kendalltau
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    grid = {"C": [0.1, 1, 10, 100], "gamma": ["scale", 0.01]}
    fifths = KFold(5, shuffle=True, random_state=seed)
    regressions = {
        "ridge": RidgeCV([10.0**power for power in range(-2, 5)]),
        # Not by R^2, which has no value for a single network left out.
        "svr": GridSearchCV(SVR(), grid, cv=fifths, scoring="neg_mean_squared_error"),
    }
    if method not in regressions:
        raise ConfigError(f"Unknown method {method!r}, choose one of {', '.join(regressions)}.")
    x, y = np.asarray(embeddings, dtype=float), np.asarray(values, dtype=float)
    if x.ndim != 2 or y.shape != x.shape[:1] or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(
            "Embeddings must be a finite matrix with a row for each finite value, got shapes "
            f"{x.shape} and {y.shape}."
        )
    if folds < 2 or len(y) < 2 * folds:
        raise ConfigError(f"{len(y)} networks are too few for {folds} folds of two or more.")
    model = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressions[method]), transformer=StandardScaler()
    )
    predicted, taus = np.empty_like(y), []
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(x):
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
        # Within the fold: means of training networks are high where those left out are low.
        taus.append(float(np.nan_to_num(kendalltau(predicted[test], y[test]).statistic)))
    return PropertyPrediction(predicted, taus)
