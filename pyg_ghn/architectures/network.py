r"""The networks of DeepNets-1M."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyg_ghn.architectures.cell import Cell
from pyg_ghn.architectures.genotype import Genotype
from pyg_ghn.architectures.plan import NetworkPlan, network_arguments
from pyg_ghn.errors import ArchitectureError


class Network(nn.Module):
    r"""An image classifier made of cells, from `"Parameter Prediction for Unseen Deep
    Architectures" <https://arxiv.org/abs/2110.13100>`_ (section 3 and appendix A).

    A stem, :obj:`n_cells` cells, of which those at one and two thirds halve the image (not in a
    ViT: any :obj:`msa` makes one), and a classifier. The output depends on live parts only; others
    (cut off by :obj:`none` or by the concatenation) have parameters but are not run, so that these
    may be on the meta device when predicted ones take the place of all others.

    Args:
        genotype (Genotype or dict): The two kinds of cells.
        n_cells (int): Number of cells.
        C (int): Number of channels of the first cells.
        num_classes (int, optional): Number of classes. (default: :obj:`10`)
        input_size (tuple, optional): Channels, height and width of an image. Images of up to 64
            pixels get the stem of 32x32 images, others that of 224x224 images.
            (default: :obj:`(3, 32, 32)`)
        ks (int, optional): Kernel size of the first convolution. (default: :obj:`3`)
        stem_type (int, optional): :obj:`0` for one convolution, :obj:`1` for the ImageNet-style
            stem of three. (default: :obj:`0`)
        stem_pool (bool, optional): Whether a max pooling follows the simple stem.
            (default: :obj:`False`)
        imagenet_stride (int, optional): Stride of the simple stem for large images.
            (default: :obj:`4`)
        norm (str, optional): :obj:`None` or BatchNorm: :obj:`"bnorm"` without running statistics,
            :obj:`"bn-track"` with. (default: :obj:`"bnorm"`)
        preproc (bool, optional): Whether 1x1 convolutions adapt the inputs of each cell. Without
            them, operations on a cell's inputs take the channels of the previous cell's output.
            (default: :obj:`True`)
        C_mult (int, optional): Factor of the channels at each reduction. Without :obj:`preproc`,
            a cell of one step before the reduction multiplies them. (default: :obj:`1`)
        fc_layers (int, optional): Number of linear layers. (default: :obj:`1`)
        fc_dim (int, optional): Size of the hidden ones. (default: :obj:`64`)
        glob_avg (bool, optional): Whether pixels are averaged before the classifier, instead of
            flattened. (default: :obj:`True`)
        device (optional): Where the parameters live, e.g. :obj:`"meta"` for a skeleton.

    Shapes:
        - **input:** images :math:`(B, \textrm{channels}, H, W)` of :obj:`input_size`
        - **output:** logits :math:`(B, \textrm{num\_classes})`

    Raises:
        ArchitectureError: If an argument is invalid, :obj:`none` cuts every path through the
            network, an image cannot be halved evenly as often as the network halves it, or without
            :obj:`preproc` an operation's channels do not fit: it cannot change their number (all
            but convolutions and a striding :obj:`skip_connect`), or reads an input that has not
            as many as the previous cell gives.
    """

    def __init__(
        self,
        genotype: Genotype | Mapping[str, Any],
        n_cells: int,
        C: int,
        num_classes: int = 10,
        input_size: tuple[int, int, int] = (3, 32, 32),
        ks: int = 3,
        stem_type: int = 0,
        stem_pool: bool = False,
        imagenet_stride: int = 4,
        norm: str | None = "bnorm",
        preproc: bool = True,
        C_mult: int = 1,
        fc_layers: int = 1,
        fc_dim: int = 64,
        glob_avg: bool = True,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        plan = NetworkPlan(
            genotype,
            n_cells,
            C,
            num_classes=num_classes,
            input_size=input_size,
            ks=ks,
            stem_type=stem_type,
            stem_pool=stem_pool,
            imagenet_stride=imagenet_stride,
            norm=norm,
            preproc=preproc,
            C_mult=C_mult,
            fc_layers=fc_layers,
            fc_dim=fc_dim,
            glob_avg=glob_avg,
        )
        self.plan = plan
        self.genotype = plan.genotype
        self.input_size = plan.input_size
        for name, part in plan.stem.items():
            self.add_module(name, part.module(device))
        self.cells = nn.ModuleList(Cell(cell, device) for cell in plan.cells)
        self.classifier = plan.classifier.module(device)

    def reset_parameters(self):
        r"""Draws all parameters anew, each layer in its own way."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def unused_parameters(self) -> list[str]:
        r"""Names of the parameters that the output does not depend on."""
        unused = []
        for i, cell in enumerate(self.cells):
            unused += [f"cells.{i}.{name}" for name in cell.unused_parameters()]
        if "stem1" in self.plan.stem and not self.plan.live_stem1:
            unused += [f"stem1.{name}" for name, _ in self.stem1.named_parameters()]
        return unused

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.input_size:
            raise ArchitectureError(
                f"The network was built for images of size {self.input_size}, got "
                f"{tuple(x.shape[1:])}: build it with input_size={tuple(x.shape[1:])}."
            )
        x0, x1 = self._stem(x)
        for cell in self.cells:
            x0, x1 = x1, cell(x0, x1) if cell.live.cell else None
        x = x1.mean(dim=(2, 3)) if self.plan.glob_avg else x1.flatten(1)
        return self.classifier(x)

    def _stem(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.genotype.is_vit:
            x = self.pos_enc(self.stem0(x))
        elif self.plan.stem_type == 1:
            x = self.stem0(x)
            return x, self.stem1(x) if self.plan.live_stem1 else None
        else:
            x = self.stem(x)
        return x, x

    def __repr__(self) -> str:
        plan = self.plan
        return (
            f"{self.__class__.__name__}({plan.n_cells} cells, C={plan.C}, "
            f"num_classes={plan.num_classes}, input_size={plan.input_size})"
        )


def network_from_args(
    net_args: Mapping[str, Any],
    num_classes: int = 10,
    input_size: tuple[int, int, int] = (3, 32, 32),
    device: torch.device | str | None = None,
    C: int | None = None,
    fc_dim: int | None = None,
) -> Network:
    r"""Builds the network of a data set's arguments.

    Args:
        net_args (dict): Arguments of :class:`Network`, besides them :obj:`num_nodes` and
            :obj:`num_params`, which are not read. :obj:`C` is 32 where it is missing.
        num_classes (int, optional): Number of classes. (default: :obj:`10`)
        input_size (tuple, optional): Size of an image. (default: :obj:`(3, 32, 32)`)
        device (optional): Where the parameters live.
        C (int, optional): Replaces the number of first channels.
        fc_dim (int, optional): Replaces the size of hidden layers of the classifier.

    Raises:
        ArchitectureError: If an argument is unknown or invalid.
    """
    changes = {"num_classes": num_classes, "input_size": input_size, "C": C, "fc_dim": fc_dim}
    return Network(**network_arguments(net_args, **changes), device=device)
