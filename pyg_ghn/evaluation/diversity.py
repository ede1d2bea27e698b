r"""How different the weights of networks and of their layers are, and how large."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from pyg_ghn.errors import ConfigError


class Diversity(NamedTuple):
    r"""Of the tensors of one shape.

    Attributes:
        distance: Their mean pairwise distance.
        count: Their number.
    """

    distance: float
    count: int


def diversity(
    networks: Iterable[Mapping[str, Tensor]],
    shapes: Collection[Sequence[int]] | None = None,
    match: bool = False,
) -> dict[tuple[int, ...], Diversity]:
    r"""The mean absolute cosine distance :math:`|1 - \cos(\mathbf{W}_i, \mathbf{W}_j)|` between all
    pairs of parameters of one shape (Table 9 of the `"Can We Scale Transformers to Predict
    Parameters of Diverse ImageNet Models?" <https://arxiv.org/abs/2303.04143>`_ paper).

    Args:
        networks (iterable): The parameters of each network by name. With :obj:`shapes` no others
            are kept, so that networks may be made one by one.
        shapes (collection, optional): The shapes. (default: all of two or more dimensions that two
            or more tensors have)
        match (bool, optional): If set to :obj:`True`, output channels of the second tensor of a
            pair are put into the order that makes the distance smallest, by Hungarian matching:
            those of trained networks have none by themselves. (default: :obj:`False`)

    Raises:
        ConfigError: If there are less than two tensors of a shape, or one is not finite.
    """
    wanted = None if shapes is None else {tuple(shape) for shape in shapes}
    found: dict[tuple[int, ...], list[Tensor]] = {shape: [] for shape in wanted or ()}
    for params in networks:
        for name, value in params.items():
            shape = tuple(value.shape)
            if len(shape) < 2 if wanted is None else shape not in wanted:
                continue
            if not value.isfinite().all():
                raise ConfigError(f"'{name}', of shape {shape}, is not finite.")
            found.setdefault(shape, []).append(value.detach())
    if lacking := [shape for shape in found if len(found[shape]) < 2 and wanted is not None]:
        raise ConfigError(
            f"A distance needs two tensors of shape {lacking[0]}, got {len(found[lacking[0]])}."
        )
    return {
        shape: Diversity(float((1 - _cosines(tensors, match)).abs().mean()), len(tensors))
        for shape, tensors in found.items()
        if len(tensors) > 1
    }


def _cosines(tensors: Sequence[Tensor], match: bool = False) -> Tensor:
    """Cosines of all pairs. A tensor of zeros has cosine 0 with all others."""
    rows = torch.stack([tensor.double().reshape(len(tensor), -1) for tensor in tensors])
    rows = rows / rows.norm(dim=(1, 2), keepdim=True).clamp(min=1e-300)
    if not match:
        first, second = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
        return (rows.flatten(1) @ rows.flatten(1).mT)[first, second]
    from scipy.optimize import linear_sum_assignment

    found = []
    for first, second in combinations(rows, 2):
        product = first @ second.mT
        order = linear_sum_assignment(product.numpy(force=True), maximize=True)
        found.append(product[order].sum())
    return torch.stack(found)


def effective_rank(weight: Tensor, relative: bool = False) -> float:
    r"""The exponential of the entropy of a weight's normalized singular values, as in the
    `"The Effective Rank: A Measure of Effective Dimensionality"
    <https://infoscience.epfl.ch/record/110188>`_ paper: from 1 to the number of rows or columns.

    Args:
        weight (Tensor): The weight, with the outputs first, as a matrix with a row for each.
        relative (bool, optional): If set to :obj:`True`, as a share of that of a random weight of
            its shape with independent normal values. (default: :obj:`False`)

    Returns:
        The rank, NaN for a weight that is not finite.
    """
    rank = float(_effective_ranks(weight.flatten(1)[None]))
    return rank / _random_rank(*weight.flatten(1).shape) if relative else rank


@torch.no_grad()
def _effective_ranks(matrices: Tensor) -> Tensor:
    matrices = matrices.double()
    matrices = matrices.mT if matrices.size(1) > matrices.size(2) else matrices
    finite = matrices.isfinite().all(2).all(1)
    # Singular values by the smaller product, which takes a fraction of the time.
    products = torch.where(finite[:, None, None], matrices @ matrices.mT, 0.0)
    values = torch.linalg.eigvalsh(products).clamp(min=0).sqrt()
    shares = values / values.sum(1, keepdim=True).clamp(min=1e-300)
    return torch.where(finite, torch.special.entr(shares).sum(1).exp(), torch.nan)


@cache
def _random_rank(rows: int, columns: int) -> float:
    generator = torch.Generator().manual_seed(0)
    count = max(1, 256 // min(rows, columns))  # small ones differ more
    samples = torch.randn(count, rows, columns, generator=generator)
    return float(_effective_ranks(samples).mean())


@torch.no_grad()
def layer_statistics(
    params: Mapping[str, Tensor], last: Collection[str] = ()
) -> dict[str, Tensor | float]:
    r"""What the weights of a network are like as a start, each in the mean over layers.

    Args:
        params (dict): The parameters by name. Matrices and kernels with two or more rows and
            columns count, with a row for each output.
        last (collection, optional): Names of the parameters of the classification layer.
            (default: :obj:`()`)

    Returns:
        :obj:`rank`, :func:`effective_rank` relative to random; :obj:`cosine` of the weights of one
        shape, over all pairs of layers; :obj:`scale`, the root mean square relative to He's
        :math:`\sqrt{2 / \textrm{fan in}}`; and :obj:`class_scale`, that of the classification
        layer, which the others leave out. What no layer has is absent.
    """
    groups: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    found: dict[str, list[Tensor]] = defaultdict(list)
    for name, value in params.items():
        if value.dim() > 1 and value.size(0) > 1 and prod(value.shape[1:]) > 1:
            scale = value.double().square().mean().sqrt() * (prod(value.shape[1:]) / 2) ** 0.5
            found["class_scale" if name in last else "scale"].append(scale[None])
            if name not in last:
                groups[tuple(value.shape)].append(value)
    for tensors in groups.values():
        matrices = torch.stack(tensors).flatten(2)
        found["rank"].append(_effective_ranks(matrices) / _random_rank(*matrices.shape[1:]))
        if len(tensors) > 1:
            found["cosine"].append(_cosines(tensors))
    return {name: torch.cat(values).mean() for name, values in found.items()}
