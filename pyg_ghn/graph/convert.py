r"""The public way from a module to its computational graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_ghn.graph.inputs import record
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.graph.reduce import reduce


def from_module(
    model: nn.Module,
    input_size: tuple[int, ...] | None = None,
    example_inputs: Tensor | Data | tuple | dict[str, Any] | None = None,
) -> Data:
    r"""Turns a model into the computational graph that a GHN reads, as in Section 3.1 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper.

    The model is run once on the meta device, in the mode (train or eval) it is in, and left exactly
    as it was. It may itself live on any device, the meta device included.

    Args:
        model (torch.nn.Module): The model.
        input_size (tuple, optional): Size of one input without the batch, :obj:`(3, 224, 224)` for
            an image. By default it is taken from the model where it tells
            (:obj:`input_size`, :obj:`image_size`, timm's and Hugging Face's configurations), else
            3 x 224 x 224 and, where that is too small, 3 x 299 x 299. (default: :obj:`None`)
        example_inputs (Tensor, Data, tuple or dict, optional): Inputs with a batch dimension
            instead, for models that take several or something else than floating-point tensors: a
            tuple of positional or a dictionary of named arguments. Their values matter only where
            the forward pass depends on them. (default: :obj:`None`)

    Returns:
        A :class:`~torch_geometric.data.Data` object with

        - **x** (long, :math:`[N, 1]`): row of :obj:`PRIMITIVES`; node 0 is the input,
        - **edge_index** (long, :math:`[2, E]`): direct data flow, acyclic, nodes in topological
          order,
        - **param_name** (list of :math:`N`): name in :meth:`~torch.nn.Module.named_parameters` of
          the parameter that the node stands for, or :obj:`None`. Each name stands once: further
          uses of a shared parameter are nodes with its shape only,
        - **param_shape** (list of :math:`N`): that parameter's shape; :math:`(1, 1, k, k)` for
          pooling,
        - **bias_name** (list of :math:`N`): name of a normalization's bias, which has no node of
          its own,
        - **unsupported** (list): names of the parameters that no node stands for, those with more
          than four dimensions included,
        - **unsupported_reason** (list): for each of them a short reason.

    Raises:
        GraphError: If the forward pass fails (naming the module) or the output does not depend on
            the input.
    """
    nodes, unsupported = reduce(record(model, input_size, example_inputs))
    edges = sorted((pred, i) for i, node in enumerate(nodes) for pred in node.preds)
    return Data(
        x=_long([[PRIMITIVE_INDEX[node.op]] for node in nodes]),
        edge_index=_long(edges).reshape(-1, 2).t().contiguous(),
        param_name=[node.param_name for node in nodes],
        param_shape=[node.param_shape for node in nodes],
        bias_name=[node.bias_name for node in nodes],
        unsupported=list(unsupported),
        unsupported_reason=list(unsupported.values()),
    )


def _long(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.long, device="cpu")  # also within torch.device("meta")
