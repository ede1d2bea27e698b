from itertools import product
from math import ceil, prod

import pytest
import torch
import torch.nn.functional as F

from pyg_ghn.errors import ConfigError
from pyg_ghn.nn import ParameterDecoder
from pyg_ghn.nn import decoder as decoder_module
from pyg_ghn.nn.decoder import tile
from pyg_ghn.nn.targets import Role, Target

CHANNELS, CLASSES = 4, 6
MAX_SHAPES = [(4, 4, 7, 7), (6, 4, 8, 8), (4, 6, 5, 5)]
SHAPES = {
    Role.SCALE: [(3,), (9,), (3, 5)],  # the last one of a norm over several dimensions
    Role.BIAS: [(4,), (12,)],
    Role.CLASS_BIAS: [(6,)],
    Role.KERNEL: [
        *[(4, 4, 1, 1), (8, 12, 1, 1), (7, 9), (3, 2, 3, 3), (5, 1, 2, 2), (1, 1, 4, 4)],
        *[(1, 4, 3, 3), (9, 5, 1, 7), (2, 9, 7, 1), (4, 3, 5), (1, 4, 3), (2, 3, 11, 11)],
        (2, 3, 9, 2),
    ],
    Role.CLASS_KERNEL: [(6, 3), (6, 11, 1, 1)],
    Role.POSITION: [(1, 9, 8), (1, 100, 3), (1, 5, 6, 6), (20, 3)],
}
# Each for several nodes, so that no ReLU is off for all of them.
TARGETS = [
    Target(f"p{i}.{node}", node, shape, role)
    for i, (role, shape) in enumerate((role, shape) for role in SHAPES for shape in SHAPES[role])
    for node in {i % 7, (i + 2) % 7, (i + 3) % 7}
]


def reference(decoder, h, role, shape):
    """One parameter, step by step."""
    c_out, c_in, size, _ = decoder.max_shape
    if role in (Role.SCALE, Role.BIAS, Role.CLASS_BIAS):
        weight, bias = decoder.vector(h).chunk(2)
        if role is Role.CLASS_BIAS:
            bias = decoder.class_bias(bias.relu())
        value = weight if role is Role.SCALE else bias
        if decoder.weight_norm:
            value = 2 * torch.sigmoid(value / 2) if role is Role.SCALE else torch.tanh(value / 5)
        return value.repeat(ceil(prod(shape) / len(value)))[: prod(shape)].view(shape)
    out, in_, height, width = (*shape, *(1,) * (4 - len(shape)))
    if role is Role.POSITION and len(shape) == 3:
        side = int(shape[1] ** 0.5)
        out, in_, height, width = 1, shape[2], side, side
    h_slice, w_slice = (
        slice(size // 2 - k // 2, size // 2 + ceil(k / 2))
        if decoder.window == "center"
        else slice(k)
        for k in (min(height, size), min(width, size))
    )
    features = decoder.position(h).relu().view(-1, size, size)[:, h_slice, w_slice]
    maps = decoder.kernel(features.permute(1, 2, 0)).unflatten(-1, (c_out, c_in))
    maps = maps.permute(2, 3, 0, 1)
    if role is Role.CLASS_KERNEL:
        maps = decoder.class_kernel(maps[:, :, 0, 0].t().relu()).t()[:, :, None, None]
    if maps.shape[2:] != (height, width):
        maps = F.interpolate(maps, (height, width), mode="bilinear")
    maps = maps.repeat(ceil(out / maps.size(0)), ceil(in_ / maps.size(1)), 1, 1)[:out, :in_]
    if not decoder.weight_norm and role is not Role.POSITION:
        return maps.view(shape)
    if role is Role.POSITION:
        return maps.flatten(2)[0].t()[None] if len(shape) == 3 else maps.view(shape)
    halved = (len(shape) > 2 and shape[1] == 1) or (len(shape) == 4 and shape[2] < shape[3])
    return (maps * ((1 if halved else 2) / prod(shape[1:])) ** 0.5).view(shape)


@pytest.fixture(params=[*product(MAX_SHAPES, ["center", "corner"], [True, False])], ids=str)
def decoder(request):
    max_shape, window, weight_norm = request.param
    return ParameterDecoder(CHANNELS, max_shape, CLASSES, window, weight_norm).double()


@pytest.fixture(params=[1, None, 10**9], ids=["all borders", "some borders", "no border"])
def borders(request, monkeypatch):
    """How the decoder divides its last weight into blocks."""
    if request.param is not None:
        for cost in ("_PRODUCT", "_BLOCK"):
            monkeypatch.setattr(decoder_module, cost, request.param)
        monkeypatch.setattr(decoder_module, "_ALIGNED", 2)


@pytest.fixture
def x():
    return torch.randn(7, CHANNELS, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("grad", [True, False])
def test_against_one_parameter_at_a_time(decoder, x, borders, grad):
    with torch.set_grad_enabled(grad):
        params = decoder(x, TARGETS)
    expected = [reference(decoder, x[t.node], t.role, t.shape) for t in TARGETS]
    for target, param, value in zip(TARGETS, params, expected, strict=True):
        assert param.shape == target.shape, target
        assert param.is_contiguous(), target
        assert torch.allclose(param, value, atol=1e-12), target
    if not grad:
        return
    weights = [torch.randn_like(p) for p in params]
    leaves = [x, *decoder.parameters()]
    grads, expected_grads = (
        torch.autograd.grad([(p * w).sum() for p, w in zip(ps, weights, strict=True)], leaves)
        for ps in (params, expected)
    )
    for grad, value in zip(grads, expected_grads, strict=True):
        assert value.any() and torch.allclose(grad, value, atol=1e-10)


def test_any_subset_gives_the_same_in_memory_of_its_own(decoder, x):
    params = decoder(x, TARGETS)
    for target, param in zip(TARGETS, params, strict=True):
        (alone,) = decoder(x, [target])
        assert torch.allclose(alone, param, atol=1e-12), target
    assert decoder(x, []) == []
    with torch.no_grad():
        params = decoder(x, TARGETS)
        before = [p.clone() for p in params]
        for param in params:
            param.zero_()
        for param, value in zip(params, before, strict=True):
            param.copy_(value)
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))


def test_class_token_is_drawn_and_small(decoder, x):
    target = Target("p", 0, (1, 2, 4000), Role.POSITION)
    first, second = decoder(x, [target])[0], decoder(x, [target])[0]
    assert torch.equal(first[0, 1:], second[0, 1:]) and not torch.equal(first[0, 0], second[0, 0])
    assert first[0, 0].std().item() == pytest.approx(0.02, rel=0.1)


def test_channels_and_positions_that_nobody_needs_have_no_gradient(x):
    decoder = ParameterDecoder(CHANNELS, (4, 4, 7, 7), CLASSES).double()
    decoder(x, [Target("p", 0, (2, 3, 3, 3), Role.KERNEL)])[0].sum().backward()
    grad = decoder.kernel[2].weight.grad.view(4, 4, -1)
    assert grad[:2, :3].any(-1).all() and not grad[2:].any() and not grad[:, 3:].any()
    grad = decoder.position.bias.grad.view(-1, 7, 7)
    assert grad[:, 2:5, 2:5].any() and grad.count_nonzero() == grad[:, 2:5, 2:5].count_nonzero()


def test_parameters_without_a_gradient_count_as_zero(decoder, x):
    first, *_ = decoder(x, TARGETS)
    (grad,) = torch.autograd.grad(first.sum(), x)
    assert grad[TARGETS[0].node].any() and grad.any(dim=1).sum() == 1


@pytest.mark.parametrize("out, in_", [(1, 1), (3, 2), (4, 3), (5, 6), (8, 7), (11, 10)])
def test_tile_repeats_with_the_period_of_the_tensor(out, in_):
    values = torch.randn(4, 3, 2, 2, requires_grad=True)
    tiled = tile(values, (out, in_))
    rows, columns = torch.arange(out) % 4, torch.arange(in_) % 3
    assert torch.equal(tiled, values[rows][:, columns])
    tiled.sum().backward()
    copies = rows.bincount(minlength=4)[:, None] * columns.bincount(minlength=3)
    assert torch.equal(values.grad, copies[..., None, None].expand(4, 3, 2, 2).float())


def test_initialization_and_options():
    decoder = ParameterDecoder(16, (16, 16, 7, 7), 10)
    for linear in (decoder.kernel[2], decoder.vector[2], decoder.class_kernel):
        assert not linear.bias.any()
        bound = linear.in_features**-0.5 / 5
        assert bound * 0.9 < linear.weight.abs().max() <= bound
    with pytest.raises(ConfigError, match="square"):
        ParameterDecoder(4, (4, 4, 7, 5), 10)
    with pytest.raises(ConfigError, match=r"one of \['center', 'corner'\], got 'left'"):
        ParameterDecoder(4, (4, 4, 7, 7), 10, window="left")
