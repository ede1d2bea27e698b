r"""The networks of DeepNets-1M."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyg_ghn.architectures.genotype import Genotype
from pyg_ghn.architectures.operations import Device
from pyg_ghn.architectures.plan import CellPlan, NetworkPlan, network_arguments
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
        device (optional): Where the parameters live, e.g. :obj:`"meta"` for a skeleton.
        **options (optional): Further arguments of
            :class:`~pyg_ghn.architectures.plan.NetworkPlan`.

    Shapes:
        - **input:** images :math:`(B, \textrm{channels}, H, W)` of :obj:`input_size`
        - **output:** logits :math:`(B, \textrm{num\_classes})`

    Raises:
        ArchitectureError: If the arguments describe no valid network, see
            :class:`~pyg_ghn.architectures.plan.NetworkPlan`.
    """

    def __init__(
        self,
        genotype: Genotype | Mapping[str, Any],
        n_cells: int,
        C: int,
        *,
        device: Device = None,
        **options: Any,
    ):
        super().__init__()
        self.plan = plan = NetworkPlan(genotype, n_cells, C, **options)
        self.genotype = plan.genotype
        self.input_size = plan.input_size
        for name, module in plan.stem.items():
            self.add_module(name, module.module(device))
        self.cells = nn.ModuleList(Cell(cell, device) for cell in plan.cells)
        self.classifier = plan.classifier.module(device)

    def reset_parameters(self):
        r"""Draws all parameters anew, each layer in its own way."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def unused_parameters(self) -> list[str]:
        r"""Names of the parameters that the output does not depend on."""
        return self.plan.unused_parameters

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.input_size:
            raise ArchitectureError(
                f"The network was built for images of size {self.input_size}, got "
                f"{tuple(x.shape[1:])}: build it with input_size={tuple(x.shape[1:])}."
            )
        if self.genotype.is_vit:
            x0 = x1 = self.pos_enc(self.stem0(x))
        elif self.plan.stem_type == 1:
            x0 = self.stem0(x)
            x1 = self.stem1(x0) if self.plan.live_stem1 else None
        else:
            x0 = x1 = self.stem(x)
        for cell in self.cells:
            x0, x1 = x1, cell(x0, x1) if cell.live.cell else None
        x = x1.mean(dim=(2, 3)) if self.plan.glob_avg else x1.flatten(1)
        return self.classifier(x)

    def __repr__(self) -> str:
        plan = self.plan
        return (
            f"{self.__class__.__name__}({plan.n_cells} cells, C={plan.C}, "
            f"num_classes={plan.num_classes}, input_size={plan.input_size})"
        )


class Cell(nn.Module):
    r"""One cell, see :class:`~pyg_ghn.architectures.Genotype`. Only live parts are run; :obj:`None`
    stands for a state that is absent or that nothing needs."""

    def __init__(self, plan: CellPlan, device: Device = None):
        super().__init__()
        self.live = plan.live
        self._sources = [state for _, state in plan.ops]
        self._concat = plan.concat
        self.preprocess0, self.preprocess1 = (module.module(device) for module in plan.inputs)
        self._ops = nn.ModuleList(module.module(device) for module in plan.operations)

    def forward(self, x0: Tensor | None, x1: Tensor | None) -> Tensor:
        use0, use1 = self.live.inputs
        states = [
            self.preprocess0(x0) if use0 else None,
            self.preprocess1(x1) if use1 else None,
        ]
        results = []
        for op, source, live in zip(self._ops, self._sources, self.live.ops, strict=True):
            results.append(op(states[source]) if live else None)
            if len(results) % 2 == 0:
                a, b = results[-2:]
                states.append(a + b if a is not None and b is not None else b if a is None else a)
        outputs = [states[state] for state in self._concat]
        if len(outputs) == 1:
            return outputs[0]
        like = next(state for state in outputs if state is not None)
        # new_zeros, not zeros_like or a product: no data may seem to flow through an absent state
        outputs = [like.new_zeros(like.shape) if out is None else out for out in outputs]
        return torch.cat(outputs, dim=1)


def network_from_args(
    net_args: Mapping[str, Any],
    num_classes: int = 10,
    input_size: tuple[int, int, int] = (3, 32, 32),
    device: Device = None,
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
