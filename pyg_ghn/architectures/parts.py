r"""What a network is put together from: modules to be, and the plan of one cell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from pyg_ghn.architectures.genotype import Ops
from pyg_ghn.architectures.operations import (
    build_operation,
    build_passage,
    build_preprocess,
    keeps_channels,
)
from pyg_ghn.architectures.reachability import Live


class Part(NamedTuple):
    r"""A module to be: :obj:`build(*args, device)`."""

    build: Callable[..., nn.Module]
    args: tuple

    def module(self, device: torch.device | str | None = None) -> nn.Module:
        r"""Builds it."""
        return self.build(*self.args, device)

    @property
    def num_parameters(self) -> int:
        r"""Its number of parameters. Equal parts are counted once, on the meta device."""
        return _num_parameters(self)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        r"""Its parameters' shapes by name, for reading only."""
        return _parameter_shapes(self)


@lru_cache(maxsize=8192)
def _num_parameters(part: Part) -> int:
    return sum(parameter.numel() for parameter in part.module("meta").parameters())


@lru_cache(maxsize=8192)
def _parameter_shapes(part: Part) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in part.module("meta").named_parameters()}


@dataclass(frozen=True)
class CellPlan:
    r"""One cell: its kind, channels and the parts of it that are live."""

    ops: Ops
    concat: tuple[int, ...]
    live: Live
    in_channels: tuple[int, int]  # of the outputs of the two previous cells
    channels: int  # of every state that a step makes
    stride: int  # of operations on states 0 and 1
    halve_first: bool  # state 0 is twice as large as state 1
    preproc: bool
    norm: str | None

    @property
    def inputs(self) -> list[Part]:
        r"""The layers between the two previous cells and states 0 and 1."""
        halves = (self.halve_first, False)
        if not self.preproc:
            return [Part(build_passage, (halve,)) for halve in halves]
        return [
            Part(build_preprocess, (in_channels, self.channels, halve, self.norm))
            for in_channels, halve in zip(self.in_channels, halves, strict=True)
        ]

    @property
    def operations(self) -> list[Part]:
        r"""The operations, in the order of the genotype."""
        return [Part(build_operation, (*args, self.norm)) for args in self._operation_args]

    @property
    def misfits(self) -> Iterator[str]:
        r"""What is wrong with the channels of live operations; with :obj:`preproc` all of them fit.
        Those that are never run need not fit."""
        if self.preproc:
            return
        for i, (name, in_channels, out_channels, stride) in enumerate(self._operation_args):
            given = self.in_channels[0] if self.ops[i][1] == 0 else in_channels
            if not self.live.ops[i]:
                continue
            if given != in_channels:
                yield (
                    f"_ops.{i} ({name}) takes {in_channels} channels, as many as the previous "
                    f"cell gives, but state 0 has {given}"
                )
            elif in_channels != out_channels and keeps_channels(name, stride):
                yield f"_ops.{i} ({name}) cannot turn {in_channels} channels into {out_channels}"

    @property
    def _operation_args(self) -> list[tuple[str, int, int, int]]:
        # name, input channels, output channels, stride
        in_channels = self.channels if self.preproc else self.in_channels[1]
        on_input = (in_channels, self.channels, self.stride)
        on_step = (self.channels, self.channels, 1)
        return [(name, *(on_input if state < 2 else on_step)) for name, state in self.ops]
