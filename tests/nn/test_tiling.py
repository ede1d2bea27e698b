import pytest
import torch

from pyg_ghn.nn.targets import Role
from pyg_ghn.nn.tiling import normalization, place_positions, sizes_4d, tile


@pytest.mark.parametrize("out", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("in_", [1, 2, 3, 4, 6, 10])
def test_tile_repeats_with_the_period_of_the_tensor(out, in_):
    x = torch.randn(4, 3, 2, 2)
    tiled = tile(x, (out, in_))
    assert tiled.shape == (out, in_, 2, 2)
    rows, columns = torch.arange(out) % 4, torch.arange(in_) % 3
    assert torch.equal(tiled, x[rows][:, columns])


def test_gradient_of_tile_counts_the_copies():
    x = torch.randn(4, 3, requires_grad=True)
    tile(x, (8, 7)).sum().backward()
    assert torch.equal(x.grad, torch.tensor([[6.0, 4.0, 4.0]]).expand(4, 3))


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((8, 4, 3, 3), (2 / 36) ** 0.5),
        ((8, 4), (2 / 4) ** 0.5),
        ((8, 1), 2**0.5),
        ((8, 4, 3), (2 / 12) ** 0.5),
        ((8, 1, 3, 3), (1 / 9) ** 0.5),
        ((8, 1, 3), (1 / 3) ** 0.5),
        ((8, 4, 1, 7), (1 / 28) ** 0.5),
        ((8, 4, 7, 1), (2 / 28) ** 0.5),
    ],
)
def test_normalization(shape, expected):
    assert normalization(Role.KERNEL, shape) == pytest.approx(expected)
    assert normalization(Role.POSITION, shape) == 1


def test_only_position_embeddings_become_squares():
    assert sizes_4d(Role.POSITION, (1, 5, 8)) == (1, 8, 2, 2)
    assert sizes_4d(Role.KERNEL, (1, 5, 8)) == (1, 5, 8, 1)
    assert sizes_4d(Role.POSITION, (1, 8, 3, 3)) == (1, 8, 3, 3)


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_positions_follow_the_class_tokens(tokens):
    kernel = torch.randn(1, 8, 3, 3)
    placed = place_positions(kernel, (1, 9 + tokens, 8))
    assert placed.shape == (1, 9 + tokens, 8)
    assert torch.equal(placed[0, tokens:], kernel[0].flatten(1).t())


def test_class_tokens_are_random_and_small():
    placed = place_positions(torch.zeros(1, 4000, 1, 1), (1, 2, 4000))
    assert placed[0, 0].std().item() == pytest.approx(0.02, rel=0.1)


def test_other_position_embeddings_stay():
    kernel = torch.randn(6, 1, 8, 1)
    assert place_positions(kernel, (6, 1, 8)) is kernel
