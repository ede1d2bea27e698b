r"""One cell of a network."""

import torch
from torch import Tensor, nn

from pyg_ghn.architectures.parts import CellPlan


class Cell(nn.Module):
    r"""One cell, see :class:`~pyg_ghn.architectures.Genotype`.

    Only live parts are run; :obj:`None` stands for a state that is absent or that nothing needs.

    Args:
        plan (CellPlan): Its operations and channels.
        device (optional): Where the parameters live.
    """

    def __init__(self, plan: CellPlan, device: torch.device | str | None = None):
        super().__init__()
        self.live = plan.live
        self._sources = [state for _, state in plan.ops]
        self._concat = plan.concat
        self.preprocess0, self.preprocess1 = (part.module(device) for part in plan.inputs)
        self._ops = nn.ModuleList(part.module(device) for part in plan.operations)

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
                states.append(_sum(*results[-2:]))
        return _concat([states[state] for state in self._concat])

    def unused_parameters(self) -> list[str]:
        r"""Names of the parameters that the network's output does not depend on."""
        names = ["preprocess0", "preprocess1", *(f"_ops.{i}" for i in range(len(self._ops)))]
        live = [*self.live.inputs, *self.live.ops]
        dead = tuple(f"{name}." for name, live in zip(names, live, strict=True) if not live)
        return [name for name, _ in self.named_parameters() if name.startswith(dead)]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _concat(states: list[Tensor | None]) -> Tensor:
    if len(states) == 1:
        return states[0]
    like = next(state for state in states if state is not None)
    # new_zeros, not zeros_like or a product: no data may seem to flow through an absent state
    states = [like.new_zeros(like.shape) if state is None else state for state in states]
    return torch.cat(states, dim=1)
