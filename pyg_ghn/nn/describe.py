r"""How the decoder makes a parameter, in the terms of a report."""

from dataclasses import replace
from math import ceil, prod

from torch import Tensor

from pyg_ghn.nn.report import ParameterReport
from pyg_ghn.nn.shape_encoding import Shape, is_sequence
from pyg_ghn.nn.targets import VECTORS, Kind, Target
from pyg_ghn.nn.tiling import sizes_4d


def describe(target: Target, max_shape: Shape) -> ParameterReport:
    r"""Tells which values of a parameter are decoded, repeated, interpolated or random.

    Args:
        target (Target): The parameter and its kind.
        max_shape (tuple): Size :math:`(c_{out}, c_{in}, s, s)` of what the decoder makes.
    """
    name, _, shape, kind = target
    report = ParameterReport(name, shape)
    c_out, c_in, size, _ = max_shape
    if kind is Kind.CLASS_BIAS:
        return report
    if kind in VECTORS:
        return replace(report, tiles=(ceil(prod(shape) / max(c_out, c_in)), 1))
    out, in_, *kernel = sizes_4d(kind, shape)
    times_out = 1 if kind is Kind.CLASS_KERNEL else ceil(out / c_out)
    window = [min(length, size) for length in kernel]
    has_tokens = kind is Kind.POSITION and is_sequence(shape)
    return replace(
        report,
        tiles=(times_out, ceil(in_ / c_in)),
        interpolated=None if window == kernel else (tuple(window), tuple(kernel)),
        random_values=prod(shape) - out * in_ * prod(kernel) if has_tokens else 0,
    )


def first_tile(value: Tensor, target: Target, max_shape: Shape) -> Tensor:
    r"""The part of a decoded parameter whose repetition is all the rest."""
    c_out, c_in = max_shape[:2]
    if target.kind in (Kind.SCALE, Kind.BIAS):
        return value.flatten()[: max(c_out, c_in)]
    if target.kind is Kind.KERNEL:
        return value[:c_out, :c_in]
    return value[:, :c_in] if target.kind is Kind.CLASS_KERNEL else value
