import torch

from pyg_ghn.images import Augmentation


def test_nothing_to_change_draws_nothing_and_type_is_kept():
    images = torch.rand(3, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert Augmentation()(images, generator) is images
    assert torch.equal(generator.get_state(), state)
    images = torch.full((2, 3, 6, 6), -0.5, dtype=torch.float64)
    changed = Augmentation(30, 0.2, 0.3, True)(images)
    assert changed.dtype is torch.float64
    torch.testing.assert_close(changed, images)


def test_each_image_by_its_own_amount_and_the_same_by_the_same_seed():
    images = torch.rand(1, 3, 8, 8).expand(4, -1, -1, -1)
    augment = Augmentation(rotation=15, zoom=0.1, shift=0.1)
    first, again = (augment(images, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.shape == images.shape and torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def test_amounts_of_turns_shifts_and_mirroring():
    images = torch.rand(400, 1, 5, 7)
    flipped = Augmentation(flip=True)(images, torch.Generator().manual_seed(0))
    same = (flipped - images).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (flipped - images.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ mirrored).all() and 150 < mirrored.sum() < 250
    # The largest amounts are not exceeded: a turn is between the ways to either side.
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 8] = 1
    turned = Augmentation(rotation=90)(images, torch.Generator().manual_seed(0))
    assert turned[:, :, :, :3].sum() < 1e-4 * turned.sum()
    shifted = Augmentation(shift=1 / 9)(images, torch.Generator().manual_seed(0))
    assert shifted[..., :6].sum() == 0
    assert shifted[:, 0, 2].sum() == 0 and shifted[:, 0, 6].sum() == 0
