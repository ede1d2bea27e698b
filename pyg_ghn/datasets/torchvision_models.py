r"""The classification models of torchvision, and other networks by name, as a data set."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn
from torch_geometric.data import Data, Dataset

from pyg_ghn.architectures import torchvision_model
from pyg_ghn.architectures.splits import SMALL_IMAGE
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph import from_module

InputSize = tuple[int, int, int]
Builder = Callable[[int, InputSize], nn.Module]

PAPER_NAMES = tuple(
    """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161
    densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l
    efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 mnasnet0_5 mnasnet0_75 mnasnet1_0
    mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
    regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_16gf
    regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101
    resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d
    shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0
    squeezenet1_1 swin_b swin_s swin_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn
    vit_b_16 vit_b_32 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
    """.split()
)
r"""The 74 networks that the paper evaluates on."""


class NamedNetworks(Dataset):
    r"""Networks that are built by functions of :obj:`(num_classes, input_size)` and traced when
    they are first asked for. :obj:`counted` are the sizes of images with 10 and 1000 classes for
    which :obj:`num_params` tells the numbers of parameters."""

    def __init__(
        self,
        builders: Mapping[str, Builder],
        transform: Callable[[Data], Data] | None,
        num_classes: int | None,
        input_size: InputSize,
        counted: tuple[InputSize, InputSize] = ((3, 224, 224), (3, 224, 224)),
    ):
        super().__init__(None, transform)
        self._num_classes, self.input_size = checked_images(num_classes, input_size)
        self._builders = dict(builders)
        self._counted = counted
        self._items: dict[int, Data] = {}

    @property
    def num_classes(self) -> int:
        r"""The number of classes of the images."""
        return self._num_classes

    @property
    def names(self) -> list[str]:
        r"""The names of the networks."""
        names = list(self._builders)
        return [names[i] for i in self.indices()]

    def network(
        self,
        i: int,
        num_classes: int | None = None,
        input_size: InputSize | None = None,
        device: torch.device | str | None = "meta",
    ) -> nn.Module:
        r"""Builds the network of item :obj:`i`: see :meth:`DeepNets1M.network`."""
        build = self._builders[self.names[i]]
        images = num_classes or self.num_classes, tuple(input_size or self.input_size)
        if str(device) == "meta":
            return _skeleton(build, *images)
        model = build(*images)
        return model if device is None else model.to(device)

    def len(self) -> int:
        return len(self._builders)

    def get(self, idx: int) -> Data:
        if idx not in self._items:
            name, build = list(self._builders.items())[idx]
            item = from_module(_skeleton(build, self.num_classes, self.input_size), self.input_size)
            item.net_id = idx
            item.name = name
            item.net_args = json.dumps({"name": name})
            counts = [
                sum(p.numel() for p in _skeleton(build, classes, size).parameters())
                for classes, size in zip((10, 1000), self._counted, strict=True)
            ]
            item.num_params = dict(zip(("cifar10", "imagenet"), counts, strict=True))
            self._items[idx] = item
        return copy.copy(self._items[idx])


class TorchvisionModels(NamedNetworks):
    r"""The classification models of torchvision, one of which the split `PyTorch` of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper consists, without auxiliary heads and pretrained
    parameters. Items have the attributes of :func:`~pyg_ghn.graph.from_module` and :obj:`name`,
    :obj:`net_args`, :obj:`net_id` and :obj:`num_params`. Models are built when they are first asked
    for, none of them in memory.

    Args:
        names (str or list of str, optional): :obj:`"all"` models, those of the :obj:`"paper"`, or
            some by name. (default: :obj:`"all"`)
        transform (callable, optional): Applied to an item at every access.
            (default: :obj:`None`)
        num_classes (int, optional): Number of classes. (default: 1000; 10 for images of up to 64
            pixels)
        input_size (tuple, optional): Size of an image. For less than 128 pixels models are adapted
            by :func:`~pyg_ghn.architectures.adapt_to_small_images`.
            (default: :obj:`(3, 224, 224)`)

    Raises:
        DatasetError: If there is no such model.
    """

    def __init__(
        self,
        names: str | Sequence[str] = "all",
        transform: Callable[[Data], Data] | None = None,
        num_classes: int | None = None,
        input_size: InputSize = (3, 224, 224),
    ):
        from torchvision import models

        known = models.list_models(module=models)
        groups = {"all": known, "paper": PAPER_NAMES}
        wanted = groups.get(names, [names]) if isinstance(names, str) else list(names)
        if unknown := [name for name in wanted if name not in known]:
            raise DatasetError(
                f"torchvision has no classification models {', '.join(unknown)}; give 'all', "
                f"'paper' or some of {', '.join(known)}."
            )
        builders = {name: partial(torchvision_model, name) for name in wanted}
        super().__init__(builders, transform, num_classes, input_size)


def checked_images(num_classes: int | None, input_size: InputSize) -> tuple[int, InputSize]:
    """The number of classes, by default 10 for images of up to 64 pixels, else 1000, and size."""
    size = tuple(input_size)
    if len(size) != 3 or min(size) < 1:
        raise DatasetError(f"input_size must be (channels, height, width), got {size}.")
    if num_classes is None:
        num_classes = 1000 if max(size[1:]) > SMALL_IMAGE else 10
    if num_classes < 1:
        raise DatasetError(f"num_classes must be 1 or more, got {num_classes}.")
    return num_classes, size


def _skeleton(build: Builder, num_classes: int, input_size: InputSize) -> nn.Module:
    from accelerate import init_empty_weights

    # Not `torch.device("meta")`, under which some models of torchvision compute with values.
    with init_empty_weights():
        return build(num_classes, input_size).to("meta")
