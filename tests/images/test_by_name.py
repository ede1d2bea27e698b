from pathlib import Path

import pytest
import torch

from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.images import IMAGE_SETS, data_root, get_image_data
from pyg_ghn.images.source import ImageSource, stratified_holdout


def pixels(split):
    return {image.numpy().tobytes() for image in split.images}


@pytest.fixture
def tiny(monkeypatch):
    """A colour image set of which every image is different."""
    generator = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randint(256, (count, 3, 5, 6), generator=generator, dtype=torch.uint8)

    source = ImageSource(
        images(60), torch.arange(60) % 3, images(12), torch.arange(12) % 3, ("a", "b", "c")
    )
    monkeypatch.setitem(IMAGE_SETS, "tiny", lambda root: source)
    return source


def test_digits_of_any_size():
    data = get_image_data("digits")
    assert data.name == "digits"
    assert data.num_classes == 10 and data.classes == tuple("0123456789")
    assert data.input_size == (3, 8, 8)
    assert (len(data.train), len(data.val), len(data.test)) == (1295, 143, 359)
    assert not pixels(data.train) & pixels(data.test)
    for split in (data.val, data.test):
        counts = split.labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= 2
    assert data.train.images.max() == 240
    assert "train=1295" in repr(data)
    small, large = get_image_data("digits"), get_image_data("digits", image_size=16)
    assert large.input_size == (3, 16, 16) and torch.equal(large.test.labels, small.test.labels)
    scaled = torch.nn.functional.interpolate(small.test.images.float(), 16, mode="bilinear")
    assert (scaled - large.test.images).abs().max() <= 1
    with pytest.raises(ConfigError, match="image_size must be a number from 1 to 4096, got 0"):
        get_image_data("digits", image_size=0)


def test_statistics_are_those_of_the_train_part(tiny):
    data = get_image_data("tiny")
    train = data.train.images.double() / 255
    mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3), correction=0)
    torch.testing.assert_close(data.train.mean, mean.float())
    torch.testing.assert_close(data.train.std, std.float())
    for split in (data.val, data.test):
        assert torch.equal(split.mean, data.train.mean) and torch.equal(split.std, data.train.std)
    images = torch.cat([images for images, _ in data.train.batches(7)])
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3))
    tiny.train_images[:, 1] = 7
    data = get_image_data("tiny")
    assert data.train.sample(8)[0].isfinite().all()
    data = data.to("meta")
    splits = (data.train, data.val, data.test)
    assert {split.images.device.type for split in splits} == {"meta"}


def test_seed_moves_val_but_not_test(tiny):
    first, second = (get_image_data("tiny", seed=seed) for seed in (0, 1))
    assert pixels(first.val) != pixels(second.val)
    assert torch.equal(first.test.images, second.test.images)
    assert torch.equal(get_image_data("tiny", seed=1).val.images, second.val.images)
    for data in (first, second):
        assert pixels(data.train) | pixels(data.val) == {
            image.numpy().tobytes() for image in tiny.train_images
        }
        assert not pixels(data.train) & pixels(data.val)


def test_val_fraction_and_holdout(tiny):
    data = get_image_data("tiny", val_fraction=0.25)
    assert data.val.labels.bincount().tolist() == [5, 5, 5]
    with pytest.raises(ConfigError, match=r"between 0 and 1, got 1\.5"):
        get_image_data("tiny", val_fraction=1.5)
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    kept, held_out = stratified_holdout(labels, 0.2, seed=0)
    assert labels[held_out].tolist() == [1, 2, 2]
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(13))


def test_too_few_images_and_unknown_names(monkeypatch):
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    source = ImageSource(images, torch.arange(2), images, torch.arange(2), ("a", "b"))
    monkeypatch.setitem(IMAGE_SETS, "few", lambda root: source)
    with pytest.raises(ImageDataError, match="'few' is too small to be split: 2 images"):
        get_image_data("few")
    with pytest.raises(ImageDataError, match=r"'digit'.*digits, fashion_mnist, .*image_folder"):
        get_image_data("digit")


def test_data_root(monkeypatch):
    monkeypatch.setenv("PYG_GHN_DATA", "/some/folder")
    assert data_root() == Path("/some/folder")
    monkeypatch.delenv("PYG_GHN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/pyg_ghn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_root() == Path("/home/someone/.cache/pyg_ghn")


def test_fewer_images_are_always_the_same_ones(tiny):
    whole, part = (get_image_data("tiny", num_images=number) for number in (None, 4))
    assert (len(part.val), len(part.test)) == (4, 4) and len(part.train) == len(whole.train)
    assert pixels(part.test) < pixels(whole.test) and pixels(part.val) < pixels(whole.val)
    again = get_image_data("tiny", num_images=4)
    assert torch.equal(again.test.images, part.test.images)
    for image, label in zip(part.test.images, part.test.labels, strict=True):
        (found,) = (whole.test.images == image).flatten(1).all(1).nonzero().flatten()
        assert whole.test.labels[found] == label
    assert len(get_image_data("tiny", num_images=1000).test) == len(whole.test)
    with pytest.raises(ConfigError, match="num_images must be 1 or more, got 0"):
        get_image_data("tiny", num_images=0)
