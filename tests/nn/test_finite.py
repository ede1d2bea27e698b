import pytest
import torch

from pyg_ghn.nn.finite import non_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_finite_is_found(value, dtype):
    broken = torch.zeros(3, 70, dtype=dtype)
    broken[1, 60] = value
    fine = torch.tensor([-torch.finfo(dtype).max, torch.finfo(dtype).max], dtype=dtype)
    pairs = [("a", fine), ("b", broken), ("c", broken.t()), ("d", fine[:0]), ("e", fine.long())]
    assert non_finite(pairs) == ["b", "c"]


def test_eight_bits():
    values = torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)
    assert non_finite([("a", values), ("b", values[:1])]) == ["a"]


def test_nothing():
    assert non_finite([]) == non_finite([("a", torch.empty(2, device="meta"))]) == []
