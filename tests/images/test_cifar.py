import pickle

import numpy as np
import pytest
import torch
from torchvision import datasets

from pyg_ghn.errors import ImageDataError
from pyg_ghn.images import get_image_data

COUNT = 40  # images per file


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Small files of the published form, which torchvision takes for the published ones."""
    rng = np.random.default_rng(0)
    for kind, labels, classes in (
        (datasets.CIFAR10, "labels", 10),
        (datasets.CIFAR100, "fine_labels", 20),
    ):
        folder = tmp_path / kind.base_folder
        folder.mkdir()
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(kind, part, [[name, None] for name, _ in getattr(kind, part)])
            for name, _ in getattr(kind, part):
                images = rng.integers(256, size=(COUNT, 3072), dtype=np.uint8)
                entry = {"data": images, labels: [i % classes for i in range(COUNT)]}
                (folder / name).write_bytes(pickle.dumps(entry))
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
        names = {kind.meta["key"]: [f"class {i}" for i in range(classes)]}
        (folder / kind.meta["filename"]).write_bytes(pickle.dumps(names))
    return tmp_path


@pytest.mark.parametrize("name, files, classes", [("cifar10", 5, 10), ("cifar100", 1, 20)])
def test_files_of_torchvision(root, name, files, classes):
    data = get_image_data(name, root)
    assert data.input_size == (3, 32, 32) and data.num_classes == classes
    assert data.classes[1] == "class 1"
    assert len(data.train) + len(data.val) == files * COUNT and len(data.test) == COUNT
    kind = getattr(datasets, name.upper())
    entry = pickle.loads((root / kind.base_folder / kind.test_list[0][0]).read_bytes())
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(entry["data"]))
    assert data.test.labels.tolist() == [i % classes for i in range(COUNT)]
    assert get_image_data(name, root, image_size=16).input_size == (3, 16, 16)


@pytest.mark.parametrize("name, file", [("cifar10", "cifar-10"), ("cifar100", "cifar-100")])
def test_files_that_are_not_there(tmp_path, name, file):
    with pytest.raises(ImageDataError) as error:
        get_image_data(name, tmp_path)
    for part in (name.upper(), f"{tmp_path}/{file}", "-python.tar.gz in", "download=True) once"):
        assert part in str(error.value)


def test_files_that_are_others_are_not_unpickled(root, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(ImageDataError, match="CIFAR10 is not there or damaged"):
        get_image_data("cifar10", root)
