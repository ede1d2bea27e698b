import pytest
import torch

from pyg_ghn.errors import ConfigError
from pyg_ghn.images import ImageSplit


def make_split(count=10, channels=1, side=4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (count, channels, side, side), generator=generator, dtype=torch.uint8
    )
    mean, std = torch.full((channels,), 0.5), torch.full((channels,), 0.25)
    return ImageSplit(images, torch.arange(count), mean, std)


def order(batches):
    return [label for _, labels in batches for label in labels.tolist()]


@pytest.mark.parametrize("channels", [1, 3])
def test_batch_is_normalized_and_has_three_channels(channels):
    split = make_split(channels=channels)
    images, labels = split.batch(torch.tensor([3, 0]))
    expected = ((split.images[[3, 0]].float() / 255 - 0.5) / 0.25).expand(-1, 3, -1, -1)
    assert images.dtype == torch.float32 and images.is_contiguous()
    torch.testing.assert_close(images, expected)
    assert labels.tolist() == [3, 0]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (10, 5, [5, 5]),
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),  # the last image joins the batch before it
        (1, 4, [1]),
        (3, 4, [3]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batch_sizes(count, batch_size, sizes):
    split = make_split(count)
    assert [len(labels) for _, labels in split.batches(batch_size)] == sizes
    assert order(split.batches(batch_size)) == list(range(count))


def test_each_generator_state_has_its_own_order_and_sample():
    split, generator = make_split(20), torch.Generator().manual_seed(0)
    first, second = order(split.batches(6, generator)), order(split.batches(6, generator))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert order(split.batches(6, torch.Generator().manual_seed(0))) == first
    split = make_split()
    images, labels = split.sample(32, torch.Generator().manual_seed(3))
    torch.manual_seed(5)
    again = split.sample(32, torch.Generator().manual_seed(3))
    assert images.shape == (32, 3, 4, 4)
    assert torch.equal(images, again[0]) and torch.equal(labels, again[1])
    assert len(labels.unique()) > 5
    torch.testing.assert_close(images, split.batch(labels)[0])


def test_batches_go_to_the_device_repr_and_bad_sizes():
    split = make_split()
    images, labels = next(iter(split.batches(4, device="meta")))
    assert images.device.type == labels.device.type == "meta"
    assert split.sample(4, device="meta")[0].device.type == "meta"
    assert split.images.device.type == "cpu"
    assert split.to("meta").images.device.type == "meta"
    with pytest.raises(ConfigError, match="batch_size must be positive, got 0"):
        make_split().batches(0)
    assert repr(make_split()) == "ImageSplit(10 images, 1 x 4 x 4)"
