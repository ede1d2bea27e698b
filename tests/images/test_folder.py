import pytest
import torch
from PIL import Image

from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.images import get_image_data

CLASSES = ("cat", "dog")


def write_png(image, path):
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def fill(folder, counts, size=(12, 20), classes=CLASSES):
    for label, (name, count) in enumerate(zip(classes, counts, strict=True)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = torch.full((3, *size), 10 * i, dtype=torch.uint8)
            image[label] = 255
            write_png(image, folder / name / f"{i}.png")


def test_test_images_are_held_out(tmp_path):
    fill(tmp_path / "train", (10, 20))
    data = get_image_data("image_folder", tmp_path, image_size=8)
    assert data.classes == CLASSES and data.num_classes == 2
    assert data.input_size == (3, 8, 8)
    assert data.test.labels.bincount().tolist() == [2, 4]
    assert data.val.labels.bincount().tolist() == [1, 2]
    for split in (data.train, data.val, data.test):
        assert (split.images[torch.arange(len(split)), split.labels] == 255).all()
    again = get_image_data("image_folder", tmp_path, image_size=8, seed=1)
    assert torch.equal(data.test.images, again.test.images)


def test_own_test_folder(tmp_path):
    fill(tmp_path / "train", (4, 4))
    fill(tmp_path / "test", (1, 2))
    data = get_image_data("image_folder", tmp_path)
    assert data.input_size == (3, 32, 32)
    assert data.test.labels.tolist() == [0, 1, 1]
    assert len(data.train) + len(data.val) == 8


def test_the_middle_square_is_kept(tmp_path):
    fill(tmp_path / "train", (4, 4), size=(8, 16))
    image = torch.zeros(3, 8, 16, dtype=torch.uint8)
    image[:, :, 4:12] = 200
    for label in CLASSES:
        for i in range(4):
            write_png(image, tmp_path / "train" / label / f"{i}.png")
    data = get_image_data("image_folder", tmp_path, image_size=8)
    assert (data.train.images == 200).all()


def test_missing_folder(tmp_path):
    with pytest.raises(ImageDataError, match=r"train.*one folder per class; pass their `root`"):
        get_image_data("image_folder", tmp_path)


def test_empty_class(tmp_path):
    fill(tmp_path / "train", (4, 0))
    with pytest.raises(ImageDataError, match=r"No images by class in .*dog"):
        get_image_data("image_folder", tmp_path)


def test_different_classes(tmp_path):
    fill(tmp_path / "train", (4, 4))
    fill(tmp_path / "test", (1, 1), classes=("cat", "cow"))
    with pytest.raises(ImageDataError, match="only one of them has cow, dog"):
        get_image_data("image_folder", tmp_path)


def test_damaged_image(tmp_path):
    fill(tmp_path / "train", (4, 4))
    path = tmp_path / "train" / "dog" / "2.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageDataError, match=f"{path} cannot be read"):
        get_image_data("image_folder", tmp_path)


def test_image_size_must_be_positive(tmp_path):
    with pytest.raises(ConfigError, match="image_size must be positive, got 0"):
        get_image_data("image_folder", tmp_path, image_size=0)
