"""Images in the format of Penn-Fudan, and average precision."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyg_ghn.errors import ImageDataError

FAR = torch.tensor([[50.0, 50.0, 60.0, 60.0]])
BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
NONE = torch.zeros(0, 4)


@pytest.fixture
def scenes(module):
    return module("tables.scenes")


@pytest.fixture
def pedestrians(tmp_path):
    """One image of 6 x 4 pixels whose mask has the objects 1 and 3."""
    for folder in ("PNGImages", "PedMasks"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[1:3, 2:5] = 3
    mask[3, 0] = 1
    Image.fromarray(np.full((4, 6, 3), 9, dtype=np.uint8)).save(tmp_path / "PNGImages/a.png")
    palette = Image.fromarray(mask).convert("P")  # as in Penn-Fudan
    palette.putdata(mask.flatten().tolist())
    palette.save(tmp_path / "PedMasks/a_mask.png")
    return tmp_path


def test_boxes_are_those_of_the_values_of_masks(scenes, pedestrians):
    ((image, boxes),) = scenes.read_scenes(pedestrians)
    assert image.shape == (3, 4, 6) and image.unique().tolist() == [9]
    assert boxes.tolist() == [[0, 3, 1, 4], [2, 1, 5, 3]]
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(pedestrians / "PedMasks/a_mask.png")
    assert scenes.read_scenes(pedestrians)[0][1].shape == (0, 4)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "a_mask.png can't be read"),
        (b"no picture", "a_mask.png can't be read"),
        (np.zeros((5, 6), dtype=np.uint8), r"size of its image: \(5, 6\), \(4, 6\)"),
        (np.zeros((4, 6, 3), dtype=np.uint8), "must have one channel"),
    ],
)
def test_masks_that_do_not_fit(scenes, pedestrians, mask, message):
    path = pedestrians / "PedMasks/a_mask.png"
    path.unlink()
    if isinstance(mask, bytes):
        path.write_bytes(mask)
    elif mask is not None:
        Image.fromarray(mask).save(path)
    with pytest.raises(ImageDataError, match=message):
        scenes.read_scenes(pedestrians)


def test_drawn_scenes_are_read_and_folders_without_any_refused(scenes, tmp_path):
    scenes.draw_scenes(tmp_path / "a", 5, size=48, seed=1)
    scenes.draw_scenes(tmp_path / "b", 5, size=48, seed=1)
    read = scenes.read_scenes(tmp_path / "a")
    assert len(read) == 5 and all(image.shape == (3, 48, 48) for image, _ in read)
    assert len({len(boxes) for _, boxes in read}) > 1
    for (image, boxes), (other, _) in zip(read, scenes.read_scenes(tmp_path / "b"), strict=True):
        assert torch.equal(image, other)
        assert 1 <= len(boxes) <= 3 and boxes.min() >= 0 and boxes.max() <= 48
        sides = boxes[:, 2:] - boxes[:, :2]
        assert sides.min() >= 3 and sides.max() <= 24
        left, top, right, bottom = boxes[0].int().tolist()
        inside = image[:, top:bottom, left:right].float().mean()
        assert inside > image.float().mean()  # digits are brighter than what is behind them
    with pytest.raises(ImageDataError, match=r"has no PNGImages/\*.png"):
        scenes.read_scenes(tmp_path)


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([(BOX, [0.9])], [BOX], 1.0),
        ([(NONE, [])], [BOX], 0.0),
        ([(BOX, [0.9])], [NONE], 0.0),
        ([(FAR, [0.9])], [BOX], 0.0),
        ([(torch.cat([FAR, BOX]), [0.9, 0.8])], [BOX], 0.5),  # a wrong box is more certain
        ([(torch.cat([BOX, BOX]), [0.9, 0.8])], [BOX], 1.0),  # twice, after all are found
        ([(torch.cat([BOX, FAR]), [0.9, 0.8])], [torch.cat([BOX, FAR + 20])], 51 / 101),
        # Over images: right, wrong, right; precision 1 up to the recall 0.5, then 2 / 3.
        ([(BOX, [0.9]), (torch.cat([FAR, BOX]), [0.8, 0.7])], [BOX, BOX], (51 + 50 * 2 / 3) / 101),
        ([(BOX * torch.tensor([1, 1, 1, 0.5]), [0.9])], [BOX], 1.0),  # an overlap of just a half
        ([(BOX * torch.tensor([1, 1, 1, 0.49]), [0.9])], [BOX], 0.0),
        # Both boxes overlap the second object most; the less certain one gets the first.
        (
            [(BOX + torch.tensor([[1.2, 0, 1.2, 0], [1.1, 0, 1.1, 0]]), [0.9, 0.8])],
            [torch.cat([BOX, BOX + torch.tensor([2.0, 0, 2, 0])])],
            1.0,
        ),
    ],
)
def test_average_precision(scenes, found, true, expected):
    found = [(boxes, torch.tensor(scores)) for boxes, scores in found]
    assert scenes.average_precision(found, true) == pytest.approx(expected, abs=1e-9)


def test_the_100_most_certain_boxes_count(scenes):
    boxes, scores = torch.cat([FAR] * 100 + [BOX]), torch.linspace(1, 0, 101)
    assert scenes.average_precision([(boxes, scores)], [BOX]) == 0
    assert scenes.average_precision([(boxes, scores.flip(0))], [BOX]) == 1
