r"""The classification models of torchvision as a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch_geometric.data import Data

from pyg_ghn.architectures import torchvision_model
from pyg_ghn.datasets.dataset import InputSize, NetworkDataset
from pyg_ghn.datasets.modules import ModuleNetworks
from pyg_ghn.errors import DatasetError

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


class TorchvisionModels(NetworkDataset):
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
        input_size (tuple, optional): Size of an image. Models are adapted to it
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
        super().__init__(
            root=None,
            transform=transform,
            pre_filter=None,
            num_classes=num_classes,
            input_size=input_size,
            log=False,
            force_reload=False,
        )
        builders = {name: partial(torchvision_model, name) for name in _checked(names)}
        counted = {"cifar10": (10, (3, 224, 224)), "imagenet": (1000, (3, 224, 224))}
        self._source = ModuleNetworks(builders, self.num_classes, self.input_size, counted)
        self._numbers = range(len(self._source))

    @property
    def names(self) -> list[str]:
        r"""The names of the models."""
        return [self._source.names[number] for number in self._positions(range(len(self)))]


def _checked(names: str | Sequence[str]) -> list[str]:
    from torchvision import models

    known = models.list_models(module=models)
    groups = {"all": known, "paper": PAPER_NAMES}
    wanted = groups.get(names, [names]) if isinstance(names, str) else list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise DatasetError(
            f"torchvision has no classification models {', '.join(unknown)}; give 'all', 'paper' "
            f"or some of {', '.join(known)}."
        )
    return list(wanted)
