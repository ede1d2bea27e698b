r"""Predicted parameters as the initialization of a model."""

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_ghn.calibration import (
    all_tensors,
    normalized_kernels,
    predict_folded,
    running_statistics,
    write,
)
from pyg_ghn.checkpoint import from_pretrained
from pyg_ghn.errors import ConfigError, GHNError, PredictionError, UnpredictedWarning
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX, PRIMITIVES
from pyg_ghn.initializers import noisy
from pyg_ghn.initializers import orthogonal as make_orthogonal
from pyg_ghn.nn import GHN
from pyg_ghn.nn.prediction import STALE_STATISTICS, Prediction, non_finite
from pyg_ghn.nn.report import shortened


def initialize(
    model: nn.Module,
    ghn: GHN | str | Path,
    input_size: tuple[int, ...] | None = None,
    example_inputs: Tensor | Data | tuple | dict[str, Any] | None = None,
    images: Tensor | None = None,
    what: str = "all",
    rescale: bool = False,
    noise: float = 0.0,
    orthogonal: bool = False,
    new_classifier: bool = False,
) -> nn.Module:
    r"""Initializes a model in place with the parameters that a GHN predicts for it. Each parameter
    keeps its device, type and memory, whether it requires a gradient or not. Nothing is written
    before all predicted parameters are known to fit.

    With a batch of unlabelled :obj:`images` the model classifies at once, in evaluation mode too:
    running statistics of BatchNorm are set to those of the images
    (:func:`~pyg_ghn.calibrate`), and convolutions without a normalization behind them are predicted
    with one, which is then folded into them (:func:`~pyg_ghn.calibration.predict_folded`).
    Without images, buffers stay as they are, but for those of parametrizations: running statistics
    fit the new parameters only after some training; until then evaluate within
    :func:`~pyg_ghn.evaluation.batch_statistics`.

    Args:
        model (torch.nn.Module): The model.
        ghn (GHN or str or Path): The graph hypernetwork, or what
            :func:`~pyg_ghn.from_pretrained` takes: a name or path.
        input_size (tuple, optional): Size of one input without the batch, see
            :func:`~pyg_ghn.graph.from_module`. (default: :obj:`None`)
        example_inputs (Tensor, Data, tuple or dict, optional): Inputs with a batch dimension
            instead, for models that take several. (default: :obj:`None`)
        images (Tensor, optional): Unlabelled images :math:`[B, C, H, W]`, normalized as the model's
            inputs are; some hundred are enough. (default: :obj:`None`)
        what (str, optional): Which predictions to take: :obj:`"all"`, :obj:`"norms"` for those of
            normalization layers, or :obj:`"kernels"` for weights of two or more dimensions. Others
            keep their initialization. (default: :obj:`"all"`)
        rescale (bool, optional): If set to :obj:`True`, weights whose outputs are normalized get
            the scale of He initialization; this needs images. The model computes what it computed,
            but is easier to train: predicted kernels are small, which makes their gradients large.
            (default: :obj:`False`)
        noise (float, optional): Size :math:`\beta` of noise on predicted weights but the last
            layer's, see :func:`~pyg_ghn.initializers.noisy`. (default: :obj:`0.0`)
        orthogonal (bool, optional): If set to :obj:`True`, weights but the last layer's are made
            orthogonal, predicted ones or, with ``what="norms"``, the model's own, see
            :func:`~pyg_ghn.initializers.orthogonal`. (default: :obj:`False`)
        new_classifier (bool, optional): If set to :obj:`True`, the last layer keeps its
            initialization, for other classes than the GHN's. (default: :obj:`False`)

    Returns:
        The model.

    Raises:
        ConfigError: If the model or GHN is none, there are images and also an input size or example
            inputs, :obj:`what` is unknown, or there are no images to rescale with.
        GHNError: If the model is on the meta device, a predicted parameter does not fit it, or its
            forward pass fails on the images.
        CheckpointError: If there is no such GHN.
        PredictionError: If a predicted value is not finite in the type of the parameter.

    Warns:
        UnpredictedWarning: Once, with the parameters that keep their own initialization and why,
            and with what concerns the whole model, such as BatchNorm without fitting statistics.
            Its attribute :obj:`report` is a :class:`~pyg_ghn.PredictionReport` on all parameters.
    """
    if what not in _KINDS:
        raise ConfigError(f"what must be one of {', '.join(_KINDS)}, got {what!r}.")
    if isinstance(ghn, (str, Path)):
        ghn = from_pretrained(ghn)
    if not (isinstance(ghn, nn.Module) and hasattr(ghn, "predict")):
        raise ConfigError(
            "The second argument must be a GHN, its name or path, got "
            f"{getattr(ghn, '__name__', type(ghn).__name__)}: call initialize(model, ghn)."
        )
    if images is None:
        prediction = ghn.predict(model, input_size=input_size, example_inputs=example_inputs)
    elif input_size is not None or example_inputs is not None:
        raise ConfigError("Images tell the size of an input: leave out the others.")
    else:
        prediction = predict_folded(ghn, model, images)
    last, kept = last_layer(prediction.graph), _KINDS[what](prediction)
    if rescale and images is None:
        raise ConfigError("To rescale, pass images: they show which outputs are normalized.")
    for name in normalized_kernels(model, prediction.graph, images.shape[1:]) if rescale else ():
        weight, bias = (prediction.get(f"{name}.{which}") for which in ("weight", "bias"))
        if weight is None:
            continue
        factor = (2 / weight[0].numel()) ** 0.5 / weight.std().clamp(min=1e-8)
        prediction[f"{name}.weight"] = weight * factor
        if bias is not None:
            prediction[f"{name}.bias"] = bias * factor
    taken, own = {}, all_tensors(model)
    for name, value in prediction.items():
        is_weight = value.dim() > 1 and name not in last
        if name not in kept and orthogonal and is_weight:
            taken[name] = make_orthogonal(own[name].detach())
        elif name in kept and not (new_classifier and name in last):
            value = make_orthogonal(value) if orthogonal and is_weight else value
            taken[name] = noisy(value, noise) if noise and is_weight else value
    report = prediction.report
    messages = [note for note in report.notes if images is None or note != STALE_STATISTICS]
    if images is None and not _norms(prediction):
        messages.append(UNNORMALIZED)
    if report.left:
        messages.insert(
            0,
            f"The GHN does not predict {len(report.left)} of the model's {len(report)} parameters, "
            f"which keep their own initialization: {'; '.join(report.what_is_left(5))}.",
        )
    assign_parameters(model, {**taken, **prediction.buffers}, images)
    if messages:
        warnings.warn(UnpredictedWarning(" ".join(messages), report), stacklevel=2)
    return model


def last_layer(graph: Data) -> set[str]:
    r"""Names of the weight and bias of the layer that is nearest to the output."""
    named = [
        n
        for n, (name, op) in enumerate(zip(graph.param_name, graph.x.view(-1), strict=True))
        if name is not None and PRIMITIVES[op] == "conv"
    ]
    return {name for name in graph.param_name[named[-1] :] if name} if named else set()


def _norms(prediction: Prediction) -> set[str | None]:
    graph, norms = prediction.graph, {PRIMITIVE_INDEX["bn"], PRIMITIVE_INDEX["ln"]}
    nodes = zip(graph.x.view(-1).tolist(), graph.param_name, graph.bias_name, strict=True)
    return {name for op, *names in nodes if op in norms for name in names}


_KINDS: dict[str, Callable[[Prediction], Collection[str | None]]] = {
    "all": dict.keys,
    "norms": _norms,
    "kernels": lambda prediction: {n for n, value in prediction.items() if value.dim() > 1},
}


UNNORMALIZED = (
    "The model has no normalization layers: its outputs may fade out under predicted parameters. "
    "Pass images, which set the scales of its layers."
)


def assign_parameters(
    model: nn.Module, params: Mapping[str, Tensor], images: Tensor | None = None
) -> None:
    """Copies predicted parameters, and perhaps buffers, into a model; with images, the statistics
    of BatchNorm on these, too. Nothing is written before all of them are known to fit: the model
    has them, with this shape and not on the meta device, and their values are finite in its
    types."""
    own = all_tensors(model)
    for name, value in params.items():
        _check_fits(name, value, own.get(name))
    broken = non_finite((name, value.to(own[name].dtype)) for name, value in params.items())
    if broken:
        raise PredictionError(
            f"Values of {shortened(broken)} are not finite in {own[broken[0]].dtype}; nothing was "
            "written. Where they are too large for the type, initialize the model in float32 and "
            "convert it afterwards."
        )
    statistics = {} if images is None else running_statistics(model, images, params)
    write(model, {**params, **statistics})


def _check_fits(name: str, value: Tensor, param: Tensor | None) -> None:
    if param is None:
        raise GHNError(f"The GHN predicts '{name}', which the model lacks; nothing was written.")
    if param.is_meta:
        raise GHNError(
            f"Parameter '{name}' is on the meta device and has no storage to write to. Build the "
            "model on a real device instead: `to_empty()` would leave its buffers, such as index "
            "tables and running statistics, undefined. To use a model on the meta device as it is, "
            "run it by `torch.func.functional_call` with `ghn.predict(model)` and the buffers of "
            "one on a real device."
        )
    if value.shape != param.shape:
        raise GHNError(
            f"The GHN predicts '{name}' with shape {tuple(value.shape)}, but the model's has "
            f"{tuple(param.shape)}; nothing was written."
        )
    if value.is_floating_point() and not param.is_floating_point():
        raise GHNError(f"'{name}' is {param.dtype} and can't hold {value.dtype}.")
    if any(s == 0 and n > 1 for s, n in zip(param.stride(), param.shape, strict=True)):
        raise GHNError(
            f"Can't write to '{name}', an expanded tensor whose values share memory; nothing was "
            "written. Make it one of its own by `.clone()`."
        )
