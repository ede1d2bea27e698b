r"""torchvision's classification models for small images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import nn

from pyg_ghn.errors import ArchitectureError

FINAL_SIDE = 4
r"""Side of the last feature map that is aimed at."""
LEAST_STRIDE = 4
r"""Total stride that even the smallest images may have."""

Units = Iterable[nn.Module]


def adapt_to_small_images(model: nn.Module, input_size: tuple[int, int, int]) -> nn.Module:
    r"""Lets a torchvision classification model, made for 224 x 224 pixels, see small images.

    The total stride is brought down to at most :math:`\max(4, \min(H, W) / 4)`, so that 32 x 32 and
    16 x 16 pixels end in feature maps of about 4 x 4, and 8 x 8 pixels in 2 x 2. For that the
    earliest down-sampling steps, and no more of them than needed, are taken out: convolutions get
    stride one and a padding that keeps the size (even kernels: one pixel more), pooling layers
    become :class:`~torch.nn.Identity`. Parameters keep their names and shapes. For images of 128 or
    more pixels nothing is changed.

    Args:
        model (torch.nn.Module): An AlexNet, ConvNeXt, DenseNet, EfficientNet, GoogLeNet, MNASNet,
            MobileNet, RegNet, ResNet, ShuffleNet, SqueezeNet or VGG of torchvision. Changed in
            place.
        input_size (tuple): Size of an image, :math:`(3, H, W)`.

    Returns:
        The model itself.

    Raises:
        ArchitectureError: If the model is of another class.
    """
    if len(input_size) != 3 or min(input_size) < 1:
        raise ArchitectureError(f"input_size must be (3, height, width), got {input_size}.")
    allowed = max(LEAST_STRIDE, min(input_size[1:]) // FINAL_SIDE)
    steps = [(unit, stride) for unit in _units(model) if (stride := _stride_of(unit)) > 1]
    for i, (unit, _) in enumerate(steps):
        if math.prod(stride for _, stride in steps[i:]) <= allowed:
            break
        _keep_size(model, unit)
    return model


def torchvision_small(
    name: str, num_classes: int, input_size: tuple[int, int, int] = (3, 32, 32)
) -> nn.Module:
    r"""Builds a torchvision classification model for small images, with its own random
    initialization and without auxiliary heads.

    Args:
        name (str): The model's name in torchvision, *e.g.* :obj:`"resnet18"`.
        num_classes (int): The number of classes.
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)

    Raises:
        ArchitectureError: If torchvision has no such model, or it cannot be adapted.
    """
    return adapt_to_small_images(torchvision_model(name, num_classes), input_size)


def torchvision_model(name: str, num_classes: int) -> nn.Module:
    r"""Builds a torchvision classification model with its own random initialization and without
    auxiliary heads.

    Args:
        name (str): The model's name in torchvision, *e.g.* :obj:`"resnet18"`.
        num_classes (int): The number of classes.

    Raises:
        ArchitectureError: If torchvision has no such model.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ArchitectureError(
            f"torchvision has no classification model {name!r}; "
            "torchvision.models.list_models(module=torchvision.models) names them."
        )
    arguments = {"aux_logits": False, "init_weights": True} if name in _WITH_HEADS else {}
    return models.get_model(name, weights=None, num_classes=num_classes, **arguments)


_WITH_HEADS = ("googlenet", "inception_v3")


def _units(model: nn.Module) -> Units:
    for family, units in _families().items():
        if isinstance(model, family):
            return units(model)
    raise ArchitectureError(
        f"No rule adapts {type(model).__qualname__} to small images. Build it for them (a vision "
        "transformer with `image_size` and a smaller `patch_size`), or set the `stride` of its "
        "first convolutions to 1 and replace its first pooling layers by torch.nn.Identity."
    )


def _families() -> dict[type[nn.Module], Callable[[nn.Module], Units]]:
    """Model class to its units, in forward order. All strided layers of a unit lie side by side in
    parallel branches, so that a unit's stride is that of any of them."""
    from torchvision import models

    def children(model: nn.Module) -> Units:
        return model.children()

    def features(model: nn.Module) -> Units:
        return model.features

    return {
        models.AlexNet: features,
        models.ConvNeXt: features,
        models.DenseNet: features,
        models.EfficientNet: features,
        models.GoogLeNet: children,
        models.MNASNet: lambda model: model.layers,
        models.MobileNetV2: features,
        models.MobileNetV3: features,
        models.RegNet: lambda model: [model.stem, *model.trunk_output],
        models.ResNet: children,
        models.ShuffleNetV2: children,
        models.SqueezeNet: features,
        models.VGG: features,
    }


def _stride_of(unit: nn.Module) -> int:
    return max((_stride(module) for module in unit.modules()), default=1)


def _stride(module: nn.Module) -> int:
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return 1
    return module.stride if isinstance(module.stride, int) else max(module.stride)


def _keep_size(model: nn.Module, unit: nn.Module) -> None:
    for module in [module for module in unit.modules() if _stride(module) > 1]:
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            module.padding = _size_keeping_padding(module)
        else:
            _replace(model, module, nn.Identity())


def _size_keeping_padding(conv: nn.Conv2d) -> tuple[int, ...]:
    reach = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return tuple(math.ceil(n / 2) for n in reach)  # an even kernel makes the map one pixel larger


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)
