r"""One architecture of a data set, as it is stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class NetworkRecord(NamedTuple):
    r"""An architecture and its graph, whatever its width and number of classes."""

    net_args: dict[str, Any]
    r"""Arguments for :func:`~pyg_ghn.architectures.network_from_args`, ready for JSON: the genotype
    as a dictionary, :obj:`num_params` for both kinds of images, :obj:`C` where it is fixed."""
    ops: np.ndarray
    r"""Rows of :obj:`PRIMITIVES`, :obj:`uint8` of shape :math:`[N]`, nodes in topological order,
    node 0 the input."""
    edges: np.ndarray
    r"""Direct data flow, :obj:`uint16` of shape :math:`[2, E]`, sorted by source, then target."""
    param_names: list[str]
    r"""Name of the parameter each node stands for, as in
    :meth:`~torch.nn.Module.named_parameters`; :obj:`""` for none. The node of a normalization bears
    the name of its weight."""
