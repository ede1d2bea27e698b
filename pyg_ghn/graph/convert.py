r"""The public way from a module to its computational graph."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData

from pyg_ghn.errors import ConfigError, GraphError
from pyg_ghn.graph.leaks import fill_leaks
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX
from pyg_ghn.graph.reduce import Reduction, reduce
from pyg_ghn.graph.trace import Trace, trace
from pyg_ghn.graph.unsupported import CUT_OFF, UNUSED

DEFAULT_INPUT_SIZES = ((3, 224, 224), (3, 299, 299))  # Inception in train mode needs the larger one


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
        ConfigError: If the model is none.
        GraphError: If the forward pass fails (naming the module) or the output does not depend on
            the input.
    """
    with outside_modes():
        nodes, unsupported = _reduced(model, input_size, example_inputs)
        if not {UNUSED, CUT_OFF}.isdisjoint(unsupported.values()):  # only if that is true
            nodes, unsupported = _reduced(model, input_size, example_inputs, thorough=True)
    edges = sorted((pred, i) for i, node in enumerate(nodes) for pred in node.preds)
    # On the CPU even within torch.device("meta").
    ops = torch.tensor([[PRIMITIVE_INDEX[node.op]] for node in nodes], device="cpu")
    edge_index = torch.tensor(edges, dtype=torch.long, device="cpu")
    return Data(
        x=ops,
        edge_index=edge_index.reshape(-1, 2).t().contiguous(),
        param_name=[node.param_name for node in nodes],
        param_shape=[node.param_shape for node in nodes],
        bias_name=[node.bias_name for node in nodes],
        unsupported=list(unsupported),
        unsupported_reason=list(unsupported.values()),
    )


@contextmanager
def outside_modes() -> Iterator[None]:
    r"""Runs the block as if outside of what surrounds it: transforms such as
    :func:`torch.func.grad`, which see none of it, autocast, and modes such as that of fake
    tensors."""
    stack = temporarily_clear_interpreter_stack()
    with stack, _disable_current_modes(), torch._C._DisableAutocast():
        yield


def _reduced(model: nn.Module, *inputs: Any, thorough: bool = False) -> Reduction:
    recorded = record(model, *inputs, thorough=thorough)
    recorder = recorded.recorder
    try:
        return reduce(recorded)
    finally:
        del recorded
        fill_leaks(recorder)


def record(
    model: nn.Module,
    input_size: tuple[int, ...] | None = None,
    example_inputs: Any = None,
    thorough: bool = False,
) -> Trace:
    r"""Records the forward pass that :func:`from_module`, with the same arguments, reads."""
    check_model(model)
    run = partial(trace, model, thorough=thorough)
    if example_inputs is not None:
        if input_size is not None:
            raise GraphError("Pass either input_size or example_inputs, not both.")
        if isinstance(example_inputs, Mapping) and not isinstance(example_inputs, BaseData):
            return run((), dict(example_inputs))
        several = isinstance(example_inputs, (tuple, list))
        return run(tuple(example_inputs) if several else (example_inputs,))
    sizes = _likely_input_sizes(model) if input_size is None else [_as_tuple(input_size)]
    advice = (
        "Check input_size, without the batch dimension (or pass example_inputs), and that the "
        "model runs on a batch of two."
    )
    if sizes == [*DEFAULT_INPUT_SIZES]:
        advice = (
            f"The size {sizes[0]} was guessed, as the model tells none: pass its own as "
            "input_size, without the batch dimension (or pass example_inputs)."
        )
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    for size in sizes:
        if not size or not all(isinstance(n, Integral) and n > 0 for n in size):
            got = " ".join(str(size).split())  # a tensor's has several lines
            raise GraphError(
                f"input_size must be positive integers without the batch, got {got:.80}; inputs "
                "themselves are images or example_inputs."
            )
    # Two samples: BatchNorm in train mode refuses a single value per channel.
    images = [torch.empty([2, *map(int, size)], dtype=dtype, device="meta") for size in sizes]
    try:
        return run(tuple(images[:1]), advice=advice)
    except GraphError as error:
        for image in images[1:]:
            with suppress(GraphError):
                return run((image,))
        raise error from None


def check_model(model: Any) -> None:
    r"""Refuses what is no module: a class or a function that makes one, or its name."""
    if not isinstance(model, nn.Module):
        got = getattr(model, "__name__", repr(model))
        raise ConfigError(
            f"The model must be a torch.nn.Module, got {got:.80}: "
            "call the class or function that makes one; `pyg_ghn.architectures.build_model` makes "
            "one by its name."
        )


def _likely_input_sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """What the model says of its input: our own networks, torchvision, timm, Hugging Face."""
    config = getattr(model, "config", None)
    timm_config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(timm_config, dict) and timm_config.get("input_size"):
        return [tuple(timm_config["input_size"])]
    size = _as_tuple(getattr(model, "input_size", None))
    if len(size) == 3:  # a single number is the width of a layer rather than of an image
        return [size]
    side = getattr(model, "image_size", None) or getattr(config, "image_size", None)
    sides = _as_tuple(side) * (2 if isinstance(side, Integral) else 1)
    if len(sides) != 2:
        return list(DEFAULT_INPUT_SIZES)
    size = (getattr(config, "num_channels", 3), *sides)
    frames = getattr(config, "num_frames", None)
    return [size, (frames, *size)] if isinstance(frames, Integral) else [size]


def _as_tuple(value: Any) -> tuple:
    if isinstance(value, (tuple, list)):  # a torch.Size is a tuple
        return tuple(value)
    return () if value is None else (value,)
