import torch

from pyg_ghn.nn.sliced_linear import sliced_linear


def make(shape, groups, dtype=torch.float64):
    num_rows = sum(count for count, _ in groups)
    tensors = torch.randn(num_rows, 5), torch.rand(num_rows), torch.randn(*shape, 5)
    tensors = (*tensors, torch.randn(shape))
    rows, scales, weight, bias = (t.to(dtype) for t in tensors)
    return rows.requires_grad_(), scales, weight.requires_grad_(), bias.requires_grad_()


def direct(rows, scales, weight, bias, groups):
    outs, start = [], 0
    for count, index in groups:
        part = slice(start, start + count)
        start += count
        product = torch.einsum("rd,...d->r...", rows[part], weight[index])
        shape = (-1,) + (1,) * bias.dim()
        outs.append((product + scales[part].view(shape) * bias[index]).movedim(0, -2))
    return outs


LEADING = [
    (3, (slice(4), slice(6))),
    (1, (slice(2), slice(6))),
    (2, (slice(3), slice(2))),
    (4, (slice(4), slice(1))),
    (2, (slice(1), slice(3))),
    (1, (slice(1), slice(1))),
]
WINDOWS = [
    (2, (slice(1, 4), slice(1, 4))),
    (3, (slice(2, 3), slice(2, 3))),
    (1, (slice(2, 3), slice(0, 5))),
    (2, (slice(0, 5), slice(2, 3))),
]


def test_leading_slices():
    tensors = make((4, 6), LEADING)
    outs = sliced_linear(*tensors, LEADING)
    for out, expected in zip(outs, direct(*tensors, LEADING), strict=True):
        assert out.is_contiguous() and torch.allclose(out, expected)


def test_windows_of_a_permuted_weight():
    rows, scales, weight, bias = make((7, 5, 5), WINDOWS)
    weight, bias = weight.permute(1, 2, 0, 3), bias.permute(1, 2, 0)
    outs = sliced_linear(rows, scales, weight, bias, WINDOWS)
    for out, expected in zip(outs, direct(rows, scales, weight, bias, WINDOWS), strict=True):
        assert out.is_contiguous() and torch.allclose(out, expected)


def test_gradients():
    for shape, groups in (((4, 6), LEADING), ((5, 5, 3), WINDOWS)):
        rows, scales, weight, bias = make(shape, groups)
        assert torch.autograd.gradcheck(
            lambda r, w, b, s=scales, g=groups: sliced_linear(r, s, w, b, g), (rows, weight, bias)
        )


def test_autocast():
    tensors = make((4, 6), LEADING, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outs = sliced_linear(*tensors, LEADING)
    for out, expected in zip(outs, direct(*tensors, LEADING), strict=True):
        assert out.dtype == torch.bfloat16
        assert torch.allclose(out.float(), expected, atol=0.1)
    sum(out.sum() for out in outs).backward()
    assert tensors[2].grad.dtype == torch.float32 and tensors[2].grad.any()
