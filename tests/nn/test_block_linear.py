import pytest
import torch

from pyg_ghn.nn import blocks
from pyg_ghn.nn.block_linear import Part, block_linear

PARTS = [
    Part((2, 5), (3, 1, 1)),
    Part((2, 5), (1, 3, 2)),
    Part((4, 3), (2, 1, 3)),
    Part((6, 7), (2, 2, 2)),
    Part((6, 1), (1, 1, 1)),
]


@pytest.fixture(params=[1, 10**9], ids=["all borders", "no border"])
def inputs(request, monkeypatch):
    monkeypatch.setattr(blocks, "_PRODUCT", request.param)
    monkeypatch.setattr(blocks, "_BLOCK", request.param)
    monkeypatch.setattr(blocks, "_ALIGNED", 2)
    count = sum(part.num_rows for part in PARTS)
    tensors = [torch.randn(size, dtype=torch.float64) for size in ((count, 4), (6, 7, 4), (6, 7))]
    rows, weight, bias = (tensor.requires_grad_() for tensor in tensors)
    return rows, torch.rand(count, dtype=torch.float64), weight, bias


def reference(rows, scales, weight, bias):
    everything = rows @ weight.flatten(0, 1).t() + scales[:, None] * bias.flatten()
    kernels = []
    for some, part in zip(everything.split([p.num_rows for p in PARTS]), PARTS, strict=True):
        out, in_ = part.channels
        kernel = some.view(*part.shape, 6, 7)[..., :out, :in_]
        kernels.append(kernel.permute(0, 3, 4, 1, 2))
    return kernels


def test_kernels(inputs):
    for kernel, expected in zip(block_linear(*inputs, PARTS), reference(*inputs), strict=True):
        assert kernel.shape == expected.shape
        assert torch.allclose(kernel, expected)


def test_gradients(inputs):
    kernels, expected = block_linear(*inputs, PARTS), reference(*inputs)
    factors = [torch.randn_like(kernel) for kernel in kernels]
    leaves = [inputs[0], *inputs[2:]]
    found, wanted = (
        torch.autograd.grad([(k * f).sum() for k, f in zip(ks, factors, strict=True)], leaves)
        for ks in (kernels, expected)
    )
    for grad, value in zip(found, wanted, strict=True):
        assert value.any() and torch.allclose(grad, value)


def test_channels_that_nobody_needs_have_no_gradient(inputs):
    rows, scales, weight, bias = inputs
    parts = [Part((2, 5), (len(rows), 1, 1))]
    (kernels,) = block_linear(rows, scales, weight, bias, parts)
    kernels.sum().backward()
    for grad in (weight.grad, bias.grad):
        assert grad[:2, :5].all() and not grad[2:].any() and not grad[:, 5:].any()


def test_autocast(inputs):
    rows, scales, weight, bias = (tensor.detach().float() for tensor in inputs)
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        kernels = block_linear(rows, scales, weight, bias, PARTS)
    for kernel, expected in zip(kernels, reference(rows, scales, weight, bias), strict=True):
        assert kernel.dtype == torch.bfloat16
        assert torch.allclose(kernel.float(), expected, atol=0.1)
    sum(kernel.float().sum() for kernel in kernels).backward()
    assert weight.grad.dtype == torch.float32 and weight.grad.isfinite().all()


def test_kernels_without_a_gradient_count_as_zero(inputs):
    first = block_linear(*inputs, PARTS)[0].sum()
    (grad,) = torch.autograd.grad(first, inputs[0])
    assert grad[:3].all() and not grad[3:].any()
