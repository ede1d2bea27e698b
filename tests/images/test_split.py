import pytest
import torch

from pyg_ghn.errors import ImageDataError
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
    batches = make_split(count).batches(batch_size)
    assert [len(labels) for _, labels in batches] == sizes
    assert len(batches) == len(sizes)
    assert order(batches) == list(range(count))


@pytest.mark.parametrize(("count", "sizes"), [(10, [4, 4]), (9, [4, 4]), (3, []), (8, [4, 4])])
def test_drop_last(count, sizes):
    assert [len(y) for _, y in make_split(count).batches(4, drop_last=True)] == sizes


def test_each_iteration_is_a_new_permutation():
    batches = make_split(20).batches(6, torch.Generator().manual_seed(0))
    first, second = order(batches), order(batches)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    again = make_split(20).batches(6, torch.Generator().manual_seed(0))
    assert order(again) == first


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5])
def test_state_resumes_where_it_was_taken(taken):
    batches = make_split(20).batches(6, torch.Generator().manual_seed(0))
    whole = order(batches) + order(batches) + order(batches)

    batches = make_split(20).batches(6, torch.Generator().manual_seed(0))
    seen = order(batches)  # a whole iteration first
    iterator = iter(batches)
    for _ in range(min(taken, len(batches))):
        seen += next(iterator)[1].tolist()
    if taken > len(batches):
        assert next(iterator, None) is None
    state = batches.state_dict()

    resumed = make_split(20).batches(6, torch.Generator().manual_seed(99))
    resumed.load_state_dict(state)
    assert resumed.state_dict()["position"] == state["position"]
    seen += order(resumed)
    seen += order(resumed)
    assert seen[: len(whole)] == whole


def test_state_without_generator():
    batches = make_split(10).batches(3)
    next(iter(batches))
    resumed = make_split(10).batches(3)
    resumed.load_state_dict(batches.state_dict())
    assert order(resumed) == list(range(3, 10))
    assert order(resumed) == list(range(10))


def test_iteration_left_early_starts_anew():
    batches = make_split(10).batches(3)
    next(iter(batches))
    assert order(batches) == list(range(10))


def test_sample_depends_on_the_generator_alone():
    split = make_split()
    images, labels = split.sample(32, torch.Generator().manual_seed(3))
    torch.manual_seed(5)
    again = split.sample(32, torch.Generator().manual_seed(3))
    assert images.shape == (32, 3, 4, 4)
    assert torch.equal(images, again[0]) and torch.equal(labels, again[1])
    assert len(labels.unique()) > 5
    torch.testing.assert_close(images, split.batch(labels)[0])


def test_batches_go_to_the_device():
    split = make_split()
    images, labels = next(iter(split.batches(4, device="meta")))
    assert images.device.type == labels.device.type == "meta"
    assert split.sample(4, device="meta")[0].device.type == "meta"
    assert split.images.device.type == "cpu"
    assert split.to("meta").images.device.type == "meta"


def test_batch_size_must_be_positive():
    with pytest.raises(ImageDataError, match="batch_size must be positive, got 0"):
        make_split().batches(0)


def test_repr():
    split = make_split()
    assert repr(split) == "ImageSplit(10 images, 1 x 4 x 4)"
    assert repr(split.batches(2)) == "ImageBatches(ImageSplit(10 images, 1 x 4 x 4), batch_size=2)"
