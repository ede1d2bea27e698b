import gzip
import struct

import pytest
import torch

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images import get_image_data, readers

COUNTS = {"train": 40, "t10k": 20}


def idx(tensor):
    header = struct.pack(f">HBB{tensor.dim()}I", 0, 8, tensor.dim(), *tensor.shape)
    return header + tensor.numpy().tobytes()


@pytest.fixture
def contents():
    files = {}
    for part, count in COUNTS.items():
        images = torch.randint(256, (count, 28, 28), dtype=torch.uint8)
        images[:, 0, 0] = torch.arange(count)  # an image can be told by its corner
        labels = (torch.arange(count) % 10).to(torch.uint8)
        files[f"{part}-images-idx3-ubyte"] = images
        files[f"{part}-labels-idx1-ubyte"] = labels
    return files


@pytest.fixture
def archives(tmp_path, contents, monkeypatch):
    monkeypatch.setattr(readers, "PACKAGE_FOLDER", tmp_path / "no package")
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, tensor in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(tensor)))
    return folder


def check(data, contents):
    assert data.input_size == (3, 32, 32)
    assert data.num_classes == 10 and data.classes[9] == "Ankle boot"
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 20)
    assert torch.equal(data.test.images[:, 0, 2:-2, 2:-2], contents["t10k-images-idx3-ubyte"])
    assert data.test.images.sum() == contents["t10k-images-idx3-ubyte"].sum()  # padded with zeros
    assert torch.equal(data.test.labels, contents["t10k-labels-idx1-ubyte"].long())
    which = torch.cat([data.train.images, data.val.images])[:, 0, 2, 2].tolist()
    assert sorted(which) == list(range(40))


def test_archives_are_extracted_to_where_torchvision_looks(tmp_path, archives, contents):
    root = tmp_path / "root"
    check(get_image_data("fashion_mnist", root, archives=archives), contents)
    raw = root / "FashionMNIST" / "raw"
    assert {path.name for path in raw.iterdir()} == set(contents)
    for name, tensor in contents.items():
        assert (raw / name).read_bytes() == idx(tensor)
    check(get_image_data("fashion_mnist", root), contents)  # archives are no longer needed


@pytest.mark.parametrize(
    "size, inside", [(28, slice(28)), (29, slice(28)), (40, slice(6, -6)), (14, None)]
)
def test_other_sizes(tmp_path, archives, contents, size, inside):
    test = get_image_data("fashion_mnist", tmp_path, archives=archives, image_size=size).test
    assert test.images.shape == (20, 1, size, size)
    original = contents["t10k-images-idx3-ubyte"]
    if inside is None:
        original = torch.nn.functional.avg_pool2d(original.float(), 2)
        assert (test.images[:, 0] - original).abs().mean() < 20
    else:
        assert torch.equal(test.images[:, 0, inside, inside], original)
        assert test.images.sum() == original.sum()


@pytest.mark.parametrize("where", ["root", "package"])
def test_where_archives_may_lie(tmp_path, archives, contents, monkeypatch, where):
    monkeypatch.setenv("PYG_GHN_DATA", str(tmp_path / "cache"))
    if where == "package":
        monkeypatch.setattr(readers, "PACKAGE_FOLDER", archives)
    check(get_image_data("fashion_mnist", archives if where == "root" else None), contents)
    root = archives if where == "root" else tmp_path / "cache"
    assert (root / "FashionMNIST" / "raw").is_dir()


def test_missing_files_are_named_with_the_ways_out(tmp_path, archives):
    (archives / "t10k-labels-idx1-ubyte.gz").unlink()
    root = tmp_path / "root"
    with pytest.raises(ImageDataError) as error:
        get_image_data("fashion_mnist", root, archives=archives)
    places = (root / "FashionMNIST" / "raw", archives, readers.PACKAGE_FOLDER)
    ways = ("t10k-labels-idx1-ubyte in", "apt install dataset-fashion-mnist", "download=True")
    for part in (*map(str, places), *ways):
        assert part in str(error.value)
    assert "train-images" not in str(error.value)
    assert not (root / "FashionMNIST").exists()  # nothing is extracted in vain


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b"x" + b, lambda b: b[:40] * 2])
def test_damaged_archive_leaves_no_file(tmp_path, archives, damage):
    archive = archives / "train-images-idx3-ubyte.gz"
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ImageDataError, match=f"{archive} is damaged"):
        get_image_data("fashion_mnist", tmp_path / "root", archives=archives)
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    assert not list(raw.iterdir())


def test_damaged_file(tmp_path, archives):
    get_image_data("fashion_mnist", tmp_path, archives=archives)
    images = tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-10])
    with pytest.raises(ImageDataError, match=r"t10k-images-idx3-ubyte or .* is damaged"):
        get_image_data("fashion_mnist", tmp_path)


def test_images_and_labels_of_different_number(tmp_path, archives):
    labels = torch.zeros(3, dtype=torch.uint8)
    (archives / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(ImageDataError, match="40 images but train-labels-idx1-ubyte 3 labels"):
        get_image_data("fashion_mnist", tmp_path, archives=archives)
