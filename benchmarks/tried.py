r"""What was tried to make things faster: ``python benchmarks/tried.py``. Times in ms as things are
and with the change; :obj:`benchmarks/README.md` says what became of each."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import _measure as measuring
import numpy as np
import torch
import torch.nn.functional as F
from _measure import seconds
from speed_graphs import build
from torch import Tensor, nn

from pyg_ghn.architectures import draw_width, network_from_args, sample_net_args
from pyg_ghn.graph import from_module
from pyg_ghn.nn import GHN3

Row = dict[str, Any]
BATCH, IMAGE = 32, (3, 32, 32)


def networks(count: int) -> list[nn.Module]:
    r"""Networks as a GHN is trained on."""
    rng = np.random.default_rng(0)
    built = []
    for _ in range(count):
        net_args = sample_net_args("train", rng)
        built.append(network_from_args(net_args | draw_width(net_args, rng), 10, IMAGE))
    return built


def forward_backward(network: Callable, params: list[Tensor], channels_last: bool = True) -> None:
    images = torch.randn(BATCH, *IMAGE)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    loss = F.cross_entropy(network(images), torch.arange(BATCH) % 10)
    torch.autograd.grad(loss, params, allow_unused=True)


def row(what: str, before: float, after: float, note: str = "") -> Row:
    return {"tried": what, "as it is": 1e3 * before, "changed": 1e3 * after, "note": note}


def layout() -> Iterator[Row]:
    some = [(network, list(network.parameters())) for network in networks(8)]

    def run(channels_last: bool) -> None:
        for network, params in some:
            forward_backward(network, params, channels_last)

    last, first = (seconds(lambda on=on: run(on), 3) for on in (True, False))
    yield row("networks with contiguous images instead of channels last", last, first)
    for network, _ in some:
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
                module.register_forward_hook(_keep_layout)
    kept = seconds(lambda: run(True), 3)
    yield row("networks with hooks that keep gradients in channels last", last, kept)


def _keep_layout(module: nn.Module, inputs: tuple, output: Tensor) -> None:
    if output.requires_grad and output.dim() == 4:
        output.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))


def workers() -> Iterator[Row]:
    some = [(network, list(network.parameters())) for network in networks(8)]
    threads = torch.get_num_threads()
    one_by_one = seconds(lambda: [forward_backward(*pair) for pair in some], 3)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        at_once = seconds(lambda: list(pool.map(lambda pair: forward_backward(*pair), some)), 3)
    yield row(f"{threads} networks at once, a thread each", one_by_one, at_once)


def bfloat16() -> Iterator[Row]:
    some = [(network, list(network.parameters())) for network in networks(2)]

    def run(context: Any) -> None:
        with context:
            for pair in some:
                forward_backward(*pair)

    autocast = torch.autocast("cpu", torch.bfloat16)
    single, half = (seconds(lambda c=c: run(c), 3) for c in (nullcontext(), autocast))
    yield row("networks in bfloat16 by autocast", single, half)


def compiled_networks() -> Iterator[Row]:
    for number in (3, 13):
        network = next(islice(networks(number + 1), number, None))
        params = list(network.parameters())
        eager = seconds(lambda n=network, p=params: forward_backward(n, p))
        compiled = torch.compile(network)
        taken = timed(lambda c=compiled, p=params: forward_backward(c, p))
        fast = seconds(lambda c=compiled, p=params: forward_backward(c, p))
        note = f"compiled in {taken:.0f} s, for each network anew"
        yield row(f"compiled network {number}", eager, fast, note)


@torch.no_grad()
def compiled_ghn() -> Iterator[Row]:
    for size in ("ghn3-t", "ghn3-xl"):
        ghn = GHN3.from_config(size).eval()
        data = ghn.transform(from_module(build("densenet201"), (3, 224, 224)))

        def embed(ghn=ghn, data=data) -> None:
            ghn.embed(data, data.param_shape)

        eager = seconds(embed)
        for conv in ghn.convs:
            conv.compile(dynamic=True)
        taken = timed(embed)
        yield row(
            f"compiled layers, embedding of densenet201 by {size}",
            eager,
            seconds(embed),
            f"compiled in {taken:.0f} s",
        )


@torch.no_grad()
def products() -> Iterator[Row]:
    rows, weight = torch.randn(64, 2048), torch.randn(256, 256, 2048)
    bias = torch.randn(192, 1, 192)
    part = weight[:192, :192]
    in_place = seconds(lambda: torch.baddbmm(bias, rows.expand(192, -1, -1), part.transpose(1, 2)))
    copied = seconds(lambda: F.linear(rows, part.reshape(-1, 2048), bias.flatten()))
    yield row("last layer: slice copied, then one product", in_place, copied)
    rows, weight = torch.randn(2048, 512), torch.randn(64, 64, 512)
    aligned, odd = (
        seconds(lambda n=n: torch.bmm(rows.expand(64, -1, -1), weight[:, :n].transpose(1, 2)), 15)
        for n in (64, 61)
    )
    yield row("last layer: 61 columns where 64 do as well", aligned, odd)


def huge_pages() -> Iterator[Row]:
    code = (
        "import time, tried;"
        "predict = tried.prediction('vit_b_16');"
        "print(tried.timed(predict), tried.seconds(predict, 9, 2))"
    )

    def run(**environment: str) -> list[float]:
        call = [sys.executable, "-c", code]
        options = {"cwd": Path(__file__).parent, "env": os.environ | environment}
        out = subprocess.run(call, check=True, capture_output=True, text=True, **options).stdout
        return [float(word) for word in out.split()[-2:]]

    for what, small, huge in zip(
        ("first", "later"), run(), run(THP_MEM_ALLOC_ENABLE="1"), strict=True
    ):
        yield row(f"pages of 2 MB, {what} prediction of vit_b_16 by T", small, huge)


def prediction(name: str) -> Callable[[], Any]:
    r"""Predicts by GHN-3-T when called."""
    ghn = GHN3.from_config("ghn3-t").eval()
    data = ghn.transform(from_module(build(name), (3, 224, 224)))
    return torch.no_grad()(lambda: ghn(data))


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


TRIED = {
    function.__name__: function
    for function in (
        layout, bfloat16, compiled_networks, compiled_ghn, products, huge_pages, workers
    )
}  # fmt: skip
r"""In this order; the threads of the last one would disturb the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=list(TRIED), choices=list(TRIED))
    parser.add_argument("--out", type=Path, default=measuring.RESULTS)
    options = parser.parse_args()
    torch.manual_seed(0)
    result = {"environment": measuring.environment(parts=options.parts, seed=0), "rows": []}
    for name in options.parts:
        for found in TRIED[name]():
            result["rows"].append(found)
            print(found, flush=True)
    text = measuring.table(result["rows"])
    print(f"\n{text}\n{measuring.save('tried', result, text, options.out)}")


if __name__ == "__main__":
    main()
