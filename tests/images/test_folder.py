import os

import numpy as np
import pytest
import torch
from PIL import Image

from pyg_ghn.errors import ConfigError, ImageDataError
from pyg_ghn.images import get_image_data
from pyg_ghn.images.folder import load_image_folder
from pyg_ghn.images.source import ImageFiles

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


def test_imagenet_stays_in_its_files(tmp_path):
    fill(tmp_path / "train", (6, 6))
    fill(tmp_path / "val", (2, 3))
    data = get_image_data("imagenet", tmp_path, image_size=8)
    assert data.input_size == (3, 8, 8) and data.test.labels.tolist() == [0, 0, 1, 1, 1]
    assert (len(data.train), len(data.val)) == (10, 2)
    in_memory = get_image_data("image_folder", tmp_path, image_size=8)
    for split in (data.train, data.val, data.test):
        assert isinstance(split.images, ImageFiles)
        assert torch.equal(split.mean, torch.tensor([0.485, 0.456, 0.406]))
        every = torch.arange(len(split))
        assert (split.images[every][every, split.labels] == 255).all()
        images, labels = next(split.batches(3, torch.Generator().manual_seed(0)))
        assert images.shape[1:] == (3, 8, 8) and len(images) == len(labels)
        assert (images[range(len(labels)), labels].amin((1, 2)) > 1.9).all()
    assert len(in_memory.test) == 2  # an image_folder keeps its test images elsewhere
    assert data.to("meta").test.images[torch.tensor([1])].device.type == "meta"
    images, labels = data.test.sample(4, device="meta")
    assert images.device.type == labels.device.type == "meta" and images.shape == (4, 3, 8, 8)
    (tmp_path / "val" / "dog" / "1.png").write_bytes(b"")
    with pytest.raises(ImageDataError, match=r"dog/1.png cannot be read as an image"):
        data.test.batch(torch.tensor([3]))


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(ImageDataError, match=r"No folder .*val. ImageNet is expected at"):
        get_image_data("imagenet", tmp_path)
    fill(tmp_path / "train", (4, 4))
    with pytest.raises(ImageDataError, match=rf"No folder .*Did you mean {tmp_path}\?$"):
        get_image_data("image_folder", tmp_path / "train")


@pytest.mark.parametrize(
    "parts, message",
    [
        ({}, r"train.*one folder per class; pass the folder that has train \(--image_root"),
        ({"train": {}}, "No images by class in .*train: it has no folders"),
        ({"train": {"cat": 4, "dog": 0}}, "No images by class in .*dog"),
        ({"train": {"cat": 4}}, "has one class only, cat"),
        ({"train": {"cat": 4, "dog": 4}, "test": {"cat": 1, "cow": 1}}, "only one of .* cow, dog"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, parts, message):
    for part, counts in parts.items():
        (tmp_path / part).mkdir()
        fill(tmp_path / part, counts.values(), classes=counts)
    with pytest.raises(ImageDataError, match=message):
        get_image_data("image_folder", tmp_path)


@pytest.mark.parametrize("size", [0, -1, 1 << 40, 8.0, "8"])
def test_image_size(tmp_path, size):
    with pytest.raises(ConfigError, match=f"image_size must be a number from 1 .*, got {size!r}"):
        get_image_data("image_folder", tmp_path, image_size=size)


def test_images_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    fill(tmp_path / "train", (4, 4))

    def empty(*args, **kwargs):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ImageDataError, match=r"The 8 images of .*choose a smaller image_size"):
        get_image_data("image_folder", tmp_path)


RAMP = np.arange(256).reshape(16, 16)
LEVELS = {
    "16 bits": ("png", (RAMP * 257).astype(np.uint16)),
    "16 bits, dark": ("png", RAMP.astype(np.uint16)),
    "16 bits, other order": ("tif", (RAMP * 257).astype(">u2")),
    "16 bits in TIFF": ("tif", (RAMP * 257).astype(np.uint16)),
    "32 bits": ("tif", (RAMP * 257).astype(np.int32)),
    "32 bits, as bytes": ("tif", RAMP.astype(np.int32)),
    "32 bits, all": ("tif", ((RAMP - 128) * (1 << 24)).astype(np.int32)),
    "floats to 1": ("tif", (RAMP / 255).astype(np.float32)),
    "floats a little beyond 1": ("tif", (RAMP / 255 * 1.001).astype(np.float32)),
    "floats to 255": ("tif", RAMP.astype(np.float32)),
    "floats to 65535": ("tif", (RAMP * 257).astype(np.float32)),
    "floats around 0": ("tif", (RAMP / 255 - 0.5).astype(np.float32)),
}


def both_parts(root):
    images = load_image_folder(root, 16)
    return torch.cat([images.train_images, images.test_images]).int()


@pytest.mark.parametrize(("kind", "pixels"), LEVELS.values(), ids=LEVELS)
def test_levels_are_kept(tmp_path, kind, pixels):
    fill(tmp_path / "train", (4, 4), size=(16, 16))
    Image.fromarray(pixels).save(tmp_path / "train" / "cat" / f"0.{kind}")
    expected = torch.arange(256).view(1, 16, 16).expand(3, -1, -1)
    if kind == "png" and pixels.max() < 256:
        expected = torch.zeros_like(expected)
    assert any((image - expected.int()).abs().max() <= 1 for image in both_parts(tmp_path))


@pytest.mark.parametrize("options", [{}, {"transparency": 3}, {"transparency": bytes(range(256))}])
def test_palettes(tmp_path, options):
    fill(tmp_path / "train", (4, 4), size=(16, 16))
    image = Image.fromarray(RAMP.astype(np.uint8), "P")
    image.putpalette([level for i in range(256) for level in (255 - i, i, i // 2)])
    image.save(tmp_path / "train" / "cat" / "0.png", **options)
    i = torch.arange(256).view(16, 16)
    expected = torch.stack((255 - i, i, i // 2)).int()
    assert any(torch.equal(image, expected) for image in both_parts(tmp_path))


def test_hidden_files_and_circles_are_ignored(tmp_path):
    fill(tmp_path / "train", (4, 4, 4), classes=("cat", "dog", ".ipynb_checkpoints"))
    (tmp_path / "train" / "cat" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / "dog" / "more").mkdir()
    for path in ("cat/.ipynb_checkpoints/1.png", "cat/._1.png", "dog/more/1.png"):
        write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), tmp_path / "train" / path)
    (tmp_path / "train" / "dog" / "notes.txt").touch()
    (tmp_path / "train" / "dog" / "more" / "all").symlink_to(tmp_path / "train" / "dog")
    images = load_image_folder(tmp_path)
    assert images.classes == CLASSES
    assert torch.cat([images.train_labels, images.test_labels]).bincount().tolist() == [4, 5]


BROKEN = {
    "too many pixels": lambda path: Image.new("1", (20000, 18500)).save(path),
    "thin": lambda path: Image.new("L", (1, 101)).save(path),
    "flat": lambda path: Image.new("RGB", (5000, 2)).save(path),
    "pipe": os.mkfifo,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "not finite": lambda path: Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(
        path, format="tiff"
    ),
    "cut off": lambda path: path.write_bytes(path.with_name("2.png").read_bytes()[:50]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "header": lambda path: path.write_bytes(b"P6 a b c"),
    "PostScript": lambda path: Image.new("RGB", (9, 9)).save(path, format="eps"),
    "long header": lambda path: path.write_bytes(b"P6 99999999999 1 255\n"),
}


@pytest.mark.parametrize("write", BROKEN.values(), ids=BROKEN)
def test_broken_images(tmp_path, write):
    fill(tmp_path / "train", (4, 4))
    write(path := tmp_path / "train" / "dog" / "x.png")
    with pytest.raises(ImageDataError, match=f"{path} cannot be read as an image: "):
        get_image_data("image_folder", tmp_path)
