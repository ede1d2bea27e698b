import io

import pytest
import torch

from pyg_ghn.nn.memory import empties, send


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_tensors_are_of_the_shapes_and_do_not_overlap(dtype):
    shapes = [(3, 4), (1024, 1024, 3), (), (0, 2), (2048, 1024)]
    tensors = empties(shapes, torch.empty(1, dtype=dtype))
    assert [tuple(tensor.shape) for tensor in tensors] == shapes
    assert {tensor.dtype for tensor in tensors} == {dtype}
    for i, tensor in enumerate(tensors):
        tensor.fill_(i)
    for i, tensor in enumerate(tensors):
        assert (tensor == i).all()


def test_each_is_saved_alone():
    small, _ = empties([(2, 2), (4096, 1024)], torch.empty(1))
    file = io.BytesIO()
    torch.save(small.zero_(), file)
    assert file.tell() < 10_000


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_on_the_device(device):
    like = torch.empty(1, device=device)
    (tensor,) = empties([(4096, 1024)], like)
    assert tensor.device == like.device
    assert send(torch.ones(2), like.device).device == like.device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_send_to_a_gpu():
    assert send(torch.arange(5), torch.device("cuda")).tolist() == [0, 1, 2, 3, 4]
