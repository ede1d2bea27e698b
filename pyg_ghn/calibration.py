r"""Unlabelled images set what a GHN does not predict: running statistics of BatchNorm, and, by
virtual norms that are folded into convolutions, the scales of networks without normalization."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.data import Data

from pyg_ghn.errors import ConfigError, GHNError, PredictionError
from pyg_ghn.graph import from_module
from pyg_ghn.graph.convert import check_model, outside_modes
from pyg_ghn.graph.primitives import PRIMITIVE_INDEX, PRIMITIVES
from pyg_ghn.graph.recorder import OwnRandom
from pyg_ghn.graph.stand_ins import StandIns
from pyg_ghn.graph.trace import preserved_rng, uncompiled, unwrapped
from pyg_ghn.nn import GHN
from pyg_ghn.nn.prediction import Prediction, fit_to_model, non_finite
from pyg_ghn.nn.report import PredictionReport, shortened
from pyg_ghn.nn.targets import collect_targets

CALIBRATION_IMAGES = 256  # which commands take
VIRTUAL = "virtual_norm"
EPS = 1e-5  # BatchNorm's
RIDGE = 1e-3  # of the mean square of an input, so that directions of no weight stay small


@torch.no_grad()
@outside_modes()
def calibrate(model: nn.Module, images: Tensor) -> nn.Module:
    r"""Sets the running statistics of each BatchNorm in place to those of a batch of images, as the
    layers before it, normalized with the statistics of the same batch, make them. In evaluation
    mode the model then computes on these images what it computes with batch statistics. Works for
    any initialization; nothing but the running statistics is changed, and these only if all of them
    are finite.

    Args:
        model (torch.nn.Module): The model, in any mode.
        images (Tensor): Unlabelled images :math:`[B, C, H, W]`, normalized as the model's inputs
            are; some hundred are enough. All of them go through the model at once.

    Returns:
        The model.

    Raises:
        ConfigError: If the images are no tensor of floats, or the model is none.
        GHNError: If the model's forward pass fails on the images, it holds a scripted module or
            has statistics on the meta device, or a statistic is not finite.
    """
    check_images(images)
    check_model(model)
    write(model, running_statistics(model, images))
    return model


def running_statistics(
    model: nn.Module, images: Tensor, params: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The buffers, by name, that :func:`calibrate` sets, those of a model with given parameters."""
    norms = {
        name: norm
        for name, norm in model.named_modules()
        if isinstance(norm, _BatchNorm) and norm._buffers.get("running_mean") is not None
    }
    if not norms:
        return {}
    if on_meta := [name for name, norm in norms.items() if norm.running_mean.is_meta]:
        raise GHNError(f"{shortened(on_meta)} are on the meta device: give them memory first.")
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms}

    def see(name: str, norm: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
        dims = [dim for dim in range(inputs.dim()) if dim != 1]
        seen[name].append(torch.var_mean(inputs.float(), dim=dims, correction=0))

    _run(model, images, {name: partial(see, name) for name in norms}, params)
    # One that runs several times gets the mean, one that never ran keeps what it has.
    buffers = {}
    for name, passes in seen.items():
        if passes:
            var, mean = (torch.stack(values).mean(0) for values in zip(*passes, strict=True))
            buffers |= {f"{name}.running_var": var, f"{name}.running_mean": mean}
            if norms[name].num_batches_tracked is not None:
                buffers[f"{name}.num_batches_tracked"] = torch.tensor(1, device="cpu")
    if broken := non_finite(buffers.items()):
        broken = dict.fromkeys(name.rpartition(".")[0] for name in broken)
        raise GHNError(
            f"The statistics of {shortened([*broken])} are not finite on these images; nothing was "
            "changed."
        )
    return buffers


def write(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Writes values, which must fit, into a model's tensors of these names."""
    own = all_tensors(model)
    for name, value in values.items():
        # Tensors of inference mode can be written in this mode only.
        with torch.inference_mode() if own[name].is_inference() else torch.no_grad():
            own[name].copy_(value)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block BatchNorm normalizes with the statistics of the batch, running statistics
    are neither read nor changed, and dropout is off. Afterwards each module is in the mode it
    was in."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    tracking = [(norm, norm.track_running_stats) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for norm, track in tracking:
            norm.track_running_stats = track


def check_images(images: Any) -> None:
    """Refuses what is no batch of images, and bytes, which nobody has normalized."""
    if not (isinstance(images, Tensor) and images.is_floating_point()):
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(
            "images must be one tensor of floats (B, C, H, W), normalized as the model's inputs "
            f"are, got {kind}."
        )


@torch.no_grad()
@outside_modes()
def predict_folded(ghn: GHN, model: nn.Module, images: Tensor) -> Prediction:
    r"""Predicts the parameters of a model as :meth:`~pyg_ghn.nn.GHN.predict` does, but gives
    convolutions that no normalization follows outputs that are normalized on given images: a twin
    of the model with BatchNorm behind these convolutions is predicted, and each BatchNorm with its
    statistics on the images is folded into its convolutions.

    This is exact where a convolution has a bias. Elsewhere the shift is added along that
    combination of its inputs which is most constant.

    Args:
        ghn (GHN): The graph hypernetwork.
        model (torch.nn.Module): The model, which is only read.
        images (Tensor): Unlabelled images :math:`[B, C, H, W]`, normalized as the model's inputs
            are.

    Raises:
        ConfigError: If the images are no tensor of floats.
        GHNError: If the model can't be traced, or its forward pass fails on the images.
        PredictionError: If a value is not finite.
    """
    check_images(images)
    data = from_module(model, tuple(images.shape[1:]))
    missing = missing_norms(model, data, tuple(images.shape[1:]))
    twin = _with_norms(data, missing)
    (targets,) = collect_targets(twin, ghn.num_classes)
    decoded = ghn.predict_graph(twin)
    prediction = fit_to_model(ghn, model, data, targets, decoded)
    if not missing:
        return prediction
    affine = {}  # scale and shift by the name of the convolution
    for norm in missing:
        sizes = [model.get_submodule(name).out_channels for name in norm.convs]
        both = (decoded[f"{norm.name}.{which}"].split(sizes) for which in ("weight", "bias"))
        affine |= dict(zip(norm.convs, zip(*both, strict=True), strict=True))

    def fold(name: str, conv: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> Tensor:
        scale, shift = (value.to(outputs) for value in affine[name])
        var, mean = torch.var_mean(outputs, dim=(0, 2, 3), correction=0)
        scale = scale * (var + EPS).rsqrt()
        shift = shift - mean * scale
        weight, bias = conv.weight * scale.view(-1, 1, 1, 1), conv.bias
        if bias is None:
            weight = weight + shift.view(-1, 1, 1, 1) * _constant_direction(conv, inputs)
        else:
            bias = prediction[f"{name}.bias"] = bias * scale + shift
        prediction[f"{name}.weight"] = weight
        return conv._conv_forward(inputs, weight, bias)

    _run(model, images, {name: partial(fold, name) for name in affine}, prediction)
    if broken := non_finite(prediction.items()):
        raise PredictionError(f"Calibrated on these images, {shortened(broken)} are not finite.")
    note = (
        f"Nothing normalizes the outputs of {shortened([*affine])}: they are predicted with "
        "BatchNorm, which is folded into them with its statistics on the images."
    )
    prediction.report = PredictionReport(prediction.report, [*prediction.report.notes, note])
    return prediction


def normalized_kernels(model: nn.Module, data: Data, size: tuple[int, ...]) -> list[str]:
    """Names of the layers whose outputs go just as they are through a normalization layer and
    nowhere else: the scale of their weight and bias makes no difference but for its epsilon."""
    ops, following, _ = _neighbors(data)
    candidates = {}
    for node, weight in enumerate(data.param_name):
        name = (weight or "").removesuffix(".weight")
        if len(following[node]) == 1 and data.param_name[following[node][0]] == f"{name}.bias":
            node = following[node][0]
        if weight and len(following[node]) == 1 and ops[following[node][0]] in ("bn", "ln"):
            candidates[name] = node
    untied = _untied(model, (nn.Conv2d, nn.Linear))
    layers, outputs, runs, found = {}, {}, Counter(), []
    for name, module in model.named_modules():
        if name in untied and name in candidates:
            layers[name] = None
        elif isinstance(module, (_BatchNorm, nn.GroupNorm, nn.LayerNorm)):
            layers[name] = module

    def version(tensor: Tensor) -> float:  # what changes with the tensor; inference has none
        return tensor.sum().item() if tensor.is_inference() else tensor._version

    def see(name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        runs[name] += 1
        if layers[name] is None:
            outputs[id(out)] = name, out, version(out)
        elif id(x) in outputs and outputs[id(x)][2] == version(x):  # not changed in place
            found.append(outputs[id(x)][0])

    _run(model, torch.ones(2, *size, device="cpu"), {n: partial(see, n) for n in layers})
    return [name for name in found if runs[name] == 1]


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers under all of their names."""
    buffers = model.named_buffers(remove_duplicate=False)
    return dict([*model.named_parameters(remove_duplicate=False), *buffers])


def _run(
    model: nn.Module,
    images: Tensor,
    hooks: Mapping[str, Callable[[nn.Module, Tensor, Tensor], Tensor | None]],
    params: Mapping[str, Tensor] | None = None,
) -> None:
    """Runs a copy of a model, with given values of some parameters and the statistics of the batch.
    Hooks see the module by its name, with its input and output, which they may replace."""
    own = all_tensors(model)
    first = next((t for t in own.values() if t.is_floating_point()), images)
    home = images.device if first.is_meta else first.device
    stand_ins = StandIns(home, home)
    generators = torch.random.fork_rng([home] if home.type == "cuda" else [])
    try:
        with torch.no_grad(), preserved_rng(), generators, OwnRandom(), uncompiled():
            for name, tensor in own.items():
                stand_in = stand_ins.tensor(tensor)
                if params and name in params:
                    stand_in.copy_(params[name])
            twin = stand_ins.copy(model)
            for name, hook in hooks.items():
                stand_ins.get(model.get_submodule(name)).register_forward_hook(
                    lambda m, args, kwargs, out, hook=hook: hook(
                        m, next(iter((*args, *kwargs.values()))), out
                    ),
                    prepend=True,
                    with_kwargs=True,
                )
            with batch_statistics(unwrapped(twin)) as twin:
                twin(images.to(home, first.dtype, copy=True))
    except GHNError:
        raise
    except Exception as error:  # whatever the model's code raises
        raise GHNError(
            f"The forward pass of {type(model).__name__} fails on images of shape "
            f"{tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    finally:
        stand_ins.forget()


class MissingNorm(NamedTuple):
    r"""A BatchNorm that a model lacks: behind a node, for the outputs of its convolutions."""

    node: int
    name: str
    convs: list[str]
    channels: int


def missing_norms(model: nn.Module, data: Data, size: tuple[int, ...]) -> list[MissingNorm]:
    r"""The norms behind convolutions with a way to another layer that leads through none.

    Convolutions whose outputs another one takes as they are need none: the norm behind both is
    enough. Nor do the last layer, those in front of position embeddings and gates, the maps of
    which have a single pixel. Convolutions that are concatenated, and nothing else, share one."""
    ops, following, preceding = _neighbors(data)
    is_layer = [op.endswith("conv") or op == "msa" for op in ops]
    # What is met first behind a node, along all ways; a gate leads to a product only.
    met: list[set[str]] = [set() for _ in ops]
    gate = [False] * len(ops)
    for node in reversed(range(len(ops))):
        for n in following[node]:
            if ops[n] in ("bn", "ln", "pos_enc") or is_layer[n]:
                met[node].add("layer" if is_layer[n] else ops[n])
            else:
                met[node] |= met[n]
            if any(ops[p] == "pos_enc" for p in preceding[n]):
                met[node].add("pos_enc")
        if not following[node]:
            met[node].add("end")
        gate[node] = ops[node] == "cse" or (
            ops[node] in ("conv", "bias") and all(gate[n] for n in following[node])
        )
    convs = {f"{name}.weight": name for name in _untied(model, nn.Conv2d)}
    runs: list[tuple[str, Tensor, Tensor]] = []
    see = {n: lambda m, x, out, n=n: runs.append((n, x, out)) for n in convs.values()}
    _run(model, torch.zeros(2, *size, device="cpu"), see)
    taken = {id(x) for _, x, _ in runs}
    pixels = {name: out[0, 0].numel() for name, _, out in runs if id(out) not in taken}
    times = Counter(name for name, _, _ in runs)
    found: dict[int, MissingNorm] = {}
    for node, weight in enumerate(data.param_name):
        name = convs.get(weight)
        if times[name] != 1 or name not in pixels or (gate[node] and pixels[name] == 1):
            continue
        if "layer" not in met[node] or met[node] & {"pos_enc", "end"}:
            continue
        channels = data.param_shape[node][0]
        if len(following[node]) == 1 and data.param_name[following[node][0]] == f"{name}.bias":
            node = following[node][0]
        behind = following[node]
        if len(behind) == 1 and ops[behind[0]] == "concat":
            parts = preceding[behind[0]]
            if all(len(following[p]) == 1 and (is_layer[p] or ops[p] == "bias") for p in parts):
                node = behind[0]
        norm = found.get(node, MissingNorm(node, f"{name}.{VIRTUAL}", [], 0))
        found[node] = norm._replace(convs=[*norm.convs, name], channels=norm.channels + channels)
    return [found[node] for node in sorted(found)]


def _untied(model: nn.Module, kinds: Any) -> set[str]:
    """Names of the layers of some kinds that share their weight with no other one."""
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) and uses[id(module._parameters.get("weight"))] == 1
    }


def _neighbors(data: Data) -> tuple[list[str], list[list[int]], list[list[int]]]:
    """The operation of each node, the nodes behind it and those before it."""
    ops = [PRIMITIVES[i] for i in data.x.view(-1).tolist()]
    following: list[list[int]] = [[] for _ in ops]
    preceding: list[list[int]] = [[] for _ in ops]
    for source, target in data.edge_index.t().tolist():
        following[source].append(target)
        preceding[target].append(source)
    return ops, following, preceding


def _with_norms(data: Data, norms: Sequence[MissingNorm]) -> Data:
    """The graph with nodes for norms that the model lacks."""
    ops, names = data.x.view(-1).tolist(), list(data.param_name)
    shapes, biases = list(data.param_shape), list(data.bias_name)
    edges = data.edge_index.clone()
    for norm in reversed(norms):  # from the end, so that numbers of earlier nodes stay
        new = norm.node + 1
        edges += edges >= new
        edges[0, edges[0] == norm.node] = new
        edges = torch.cat([edges, edges.new_tensor([[norm.node], [new]])], dim=1)
        ops.insert(new, PRIMITIVE_INDEX["bn"])
        names.insert(new, f"{norm.name}.weight")
        shapes.insert(new, (norm.channels,))
        biases.insert(new, f"{norm.name}.bias")
    return Data(
        x=torch.tensor(ops, device="cpu").view(-1, 1),
        edge_index=edges[:, edges[0].argsort(stable=True)],
        param_name=names,
        param_shape=shapes,
        bias_name=biases,
    )


def _constant_direction(conv: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The kernel, equal at all of its positions, whose output on the inputs is closest to 1."""
    groups, positions = conv.groups, prod(conv.kernel_size)
    ones = inputs.new_ones(inputs.size(1), 1, *conv.kernel_size) / positions
    padded = inputs
    if conv.padding_mode != "zeros":
        padded = F.pad(inputs, conv._reversed_padding_repeated_twice, conv.padding_mode)
    padding = conv.padding if conv.padding_mode == "zeros" else 0
    means = F.conv2d(padded, ones, None, conv.stride, padding, conv.dilation, inputs.size(1))
    x = means.transpose(0, 1).reshape(groups, inputs.size(1) // groups, -1).double()
    gram = x @ x.mT / x.size(2)
    ridge = gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12) * RIDGE
    gram += torch.diag_embed(ridge[:, None].expand(-1, gram.size(1)))
    direction = torch.linalg.solve(gram, x.mean(2, keepdim=True))
    direction = direction.mT.to(inputs) / positions  # [groups, 1, in]
    per_out = direction.repeat_interleave(conv.out_channels // groups, dim=0)
    return per_out.view(conv.out_channels, -1, 1, 1).expand(-1, -1, *conv.kernel_size)
