r"""Pictures of what a GHN makes, node embeddings and predicted filters, and of what was measured:
fine-tuning step by step, and an evaluation."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch_geometric.data import Data
from torchvision.utils import make_grid

from pyg_ghn.drawing.style import FRAME, INK, LINE, SERIES, STYLES, plain, save_figure
from pyg_ghn.errors import ConfigError
from pyg_ghn.evaluation import node_embeddings
from pyg_ghn.evaluation.result import GeneralizationResult
from pyg_ghn.graph import PRIMITIVES
from pyg_ghn.nn import GHN

PANEL, MAX_IN_ROW, DPI = 3.4, 3, 160  # inches, panels
MAX_FILTERS, FILTER_PIXELS = 64, 24  # each filter is enlarged to about so many pixels
MEASURES = {  # figure of a network to its colour, its label and its place beside the split
    "accuracy": (SERIES[1], "predicted by the GHN", -0.19),
    "random": (SERIES[0], "random initialization", 0.19),
}
SPREAD = 0.11  # half the width of a cloud of points


def draw_embeddings(
    ghn: GHN,
    graphs: Mapping[str, Data],
    path: str | os.PathLike,
    method: str = "pca",
    seed: int = 0,
) -> Path:
    r"""Draws the node embeddings of a GHN in two dimensions: one panel for each graph, all in the
    same projection, with the colours and shapes of :func:`~pyg_ghn.drawing.draw_graph`.

    Args:
        ghn (GHN): The graph hypernetwork.
        graphs (dict): Title to computational graph, as :func:`~pyg_ghn.graph.from_module` makes it.
        path (str or Path): The file to write, which ends in :obj:`.svg`, :obj:`.pdf` or
            :obj:`.png`.
        method (str, optional): The projection, :obj:`"pca"` or :obj:`"tsne"`.
            (default: :obj:`"pca"`)
        seed (int, optional): Seed of t-SNE. (default: :obj:`0`)

    Returns:
        The path of the file, which appears whole or not at all.

    Raises:
        ConfigError: If the method or the kind of file is unknown, or there are fewer than three
            nodes.
        GHNError: If the file can't be written.
    """
    if method not in ("pca", "tsne"):
        raise ConfigError(f"Unknown method '{method}', choose one of pca, tsne.")
    embeddings = [node_embeddings(ghn, graph).numpy(force=True) for graph in graphs.values()]
    sizes = [len(part) for part in embeddings]
    if sum(sizes) < 3:
        raise ConfigError("A picture needs graphs of 3 or more nodes in total.")
    if method == "pca":
        pca = PCA(2, svd_solver="full")
        points = pca.fit_transform(np.concatenate(embeddings))
        shares = np.nan_to_num(pca.explained_variance_ratio_)
        names = [f"component {i + 1} ({share:.0%})" for i, share in enumerate(shares)]
    else:
        perplexity = min(30.0, (sum(sizes) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="random", random_state=seed)
        points, names = tsne.fit_transform(np.concatenate(embeddings)), ["t-SNE 1", "t-SNE 2"]

    figure, panels = _panels(list(graphs), share=True)
    ops = np.concatenate([graph.x.view(-1).numpy(force=True) for graph in graphs.values()])
    panel_of = np.repeat(np.arange(len(sizes)), sizes)
    for i, axes in enumerate(panels):
        for op in np.unique(ops[panel_of == i]):
            axes.scatter(*points[(panel_of == i) & (ops == op)].T, **_marker(PRIMITIVES[op]))
        axes.tick_params(length=0, labelsize=8, colors=LINE)
        axes.spines[:].set_color(FRAME)
        axes.set_xlabel(names[0], fontsize=8, color=LINE)
    panels[0].set_ylabel(names[1], fontsize=8, color=LINE)
    used = [op for op in STYLES if PRIMITIVES.index(op) in ops]
    handles = [panels[0].scatter([], [], label=op, **_marker(op)) for op in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return save_figure(figure, path)


def draw_filters(weights: Mapping[str, Tensor], path: str | os.PathLike) -> Path:
    r"""Writes :func:`plot_filters` to a :obj:`.svg`, :obj:`.pdf` or :obj:`.png` file.

    Raises:
        ConfigError: If the weights can't be drawn, or the kind of file is unknown.
        GHNError: If the file can't be written.
    """
    return save_figure(plot_filters(weights), path)


def plot_filters(weights: Mapping[str, Tensor]) -> Figure:
    r"""Draws up to 64 filters of each of some first convolutions, such as one predicted by several
    GHNs, side by side (Figure 2 of `"Can We Scale Transformers to Predict Parameters of Diverse
    ImageNet Models?" <https://arxiv.org/abs/2303.04143>`_).

    Zero is grey. Each panel has its own scale, on which the strongest 1 % of the values saturate.

    Args:
        weights (dict): Title to weight of a convolution of images, :math:`(c_{out}, c_{in}, h, w)`
            with three input channels (RGB) or one.

    Returns:
        matplotlib.figure.Figure: Its own figure, without pyplot.

    Raises:
        ConfigError: If there is no weight, or one is not finite or has another shape.
    """
    for name, weight in weights.items():
        if weight.dim() != 4 or weight.shape[1] not in (1, 3) or not weight.isfinite().all():
            raise ConfigError(
                f"'{name}' must be the finite weight of a convolution of images, of shape (out, "
                f"1 or 3, height, width); its shape is {tuple(weight.shape)}."
            )
    if not weights:
        raise ConfigError("There is nothing to draw; give at least one weight.")
    figure, panels = _panels(list(weights), share=False)
    for axes, weight in zip(panels, weights.values(), strict=True):
        filters = weight[:MAX_FILTERS].detach().float().cpu()
        scale = filters.abs().flatten().quantile(0.99).clamp(min=torch.finfo(torch.float32).tiny)
        tiles = (0.5 + 0.5 * filters / scale).clamp(0, 1)
        for axis in (2, 3):
            tiles = tiles.repeat_interleave(math.ceil(FILTER_PIXELS / tiles.shape[axis]), dim=axis)
        mosaic = make_grid(tiles, nrow=math.ceil(len(tiles) ** 0.5), pad_value=1.0)  # a square
        axes.imshow(mosaic[:, 2:-2, 2:-2].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_axis_off()
    return figure


def first_convolution(graph: Data) -> str:
    r"""The name of the first convolution's weight that reads an image.

    Args:
        graph (Data): The graph as :func:`~pyg_ghn.graph.from_module` makes it.

    Raises:
        ConfigError: If there is none.
    """
    for name, shape in zip(graph.param_name, graph.param_shape, strict=True):
        if name and len(shape) == 4 and shape[1] in (1, 3) and max(shape[2:]) > 1:
            return name
    raise ConfigError("The model has no convolution of images with 1 or 3 channels to draw.")


def _panels(titles: list[str], share: bool) -> tuple[Figure, list[Axes]]:
    rows, columns = math.ceil(len(titles) / MAX_IN_ROW), min(len(titles), MAX_IN_ROW)
    figure = Figure((PANEL * columns, (PANEL + 0.2) * rows), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(wspace=0.05)
    grid = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).flatten()
    for title, axes in zip(titles, grid, strict=False):
        axes.set_title(title, fontsize=10, color=INK)
    for axes in grid[len(titles) :]:
        axes.remove()
    return figure, list(grid[: len(titles)])


def _marker(op: str) -> dict[str, Any]:
    style = STYLES[op]
    outline = Outline(style.outline.vertices * (1, -1), style.outline.codes)  # y points up here
    look = {"facecolor": style.fill, "edgecolor": INK, "linewidth": 0.4}
    return {"marker": outline, "s": 32, **look}


def plot_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    ylabel: str,
    axes: Axes | None = None,
) -> Figure:
    r"""A line over steps for each name, the mean of its runs, in a band from the lowest to the
    highest.

    Args:
        curves (dict): Name, of a start for example, to its runs, each a list of points
            :math:`(x, y)`. Runs of one name are joined at the places that all of them have. A name
            without runs has a colour, but no line; the first colour is grey.
        ylabel (str): What is measured.
        axes (matplotlib.axes.Axes, optional): Where to draw. (default: :obj:`None`, those of a new
            figure)

    Returns:
        matplotlib.figure.Figure: The figure; a new one is its own, without pyplot.
    """
    axes = axes or Figure(figsize=(5.6, 3.6), dpi=160, layout="constrained").add_subplot()
    for i, (name, runs) in enumerate(curves.items()):
        if not runs:
            continue
        color = SERIES[i % len(SERIES)]
        places = sorted(set.intersection(*({x for x, _ in run} for run in runs)))
        values = np.array([[dict(run)[x] for x in places] for run in runs])
        axes.plot(places, values.mean(0), color=color, linewidth=1.8, marker="o", markersize=3.5)
        axes.fill_between(
            places, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0
        )
        axes.lines[-1].set_label(name)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("steps", color=INK, fontsize=10)
    axes.set_ylabel(ylabel, color=INK, fontsize=10)
    plain(axes)
    return axes.figure


def draw_generalization(result: GeneralizationResult, path: str | os.PathLike) -> Path:
    r"""Writes a picture of an evaluation, predicted parameters beside random ones, to a
    :obj:`.svg`, :obj:`.pdf` or :obj:`.png` file: a point per network and a box per split.

    Raises:
        ConfigError: If the kind of file is unknown.
        GHNError: If the file can't be written.
    """
    figure = Figure(figsize=(8.4, 3.8), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    splits = result.by_split()
    for place, networks in enumerate(splits.values()):
        # Many points are small and pale, few are large: both fill the cloud about equally.
        size, alpha = np.clip(600 / len(networks), 5, 22), np.clip(25 / len(networks), 0.25, 0.7)
        for who, (color, _, offset) in MEASURES.items():
            values = 100 * np.array([getattr(net, who) for net in networks])
            x = place + offset + jitter.uniform(-SPREAD, SPREAD, len(values))
            axes.scatter(x, values, s=size, color=color, alpha=alpha, linewidths=0, zorder=2)
            thin = {"color": color, "linewidth": 1.1}
            axes.boxplot(
                [values],
                positions=[place + offset],
                widths=2.6 * SPREAD,
                showfliers=False,
                manage_ticks=False,
                boxprops=thin,
                whiskerprops=thin,
                capprops={"linewidth": 0},
                medianprops={"color": color, "linewidth": 2.2},
                zorder=3,
            )
    dashed = {"color": INK, "linewidth": 0.9, "linestyle": (0, (4, 3))}
    axes.axhline(100 * result.chance, zorder=1, **dashed)
    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=color, label=label)
        for color, label, _ in MEASURES.values()
    ]
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2, "ncols": 3}
    look = {"frameon": False, "fontsize": 10, "labelcolor": INK, "handletextpad": 0.5}
    axes.legend(handles=[*dots, Line2D([], [], label="chance", **dashed)], **place, **look)
    names = [f"{name}\nn = {len(networks)}" for name, networks in splits.items()]
    axes.set_xticks(range(len(splits)), names)
    axes.set_ylabel(f"{result.images} {result.image_split} accuracy, %", color=INK, fontsize=10)
    axes.set_xlabel("unseen networks by split", color=INK, fontsize=10)
    axes.set_xlim(-0.55, len(splits) - 0.45)
    axes.set_ylim(bottom=0)
    plain(axes)
    return save_figure(figure, path)
