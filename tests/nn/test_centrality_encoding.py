import pytest
import torch

from pyg_ghn.nn import CentralityEncoding


def test_sum_of_three_embeddings_of_clipped_values():
    encoding = CentralityEncoding(8)
    assert [t.num_embeddings for t in encoding.children()] == [101, 101, 1001]
    out = encoding(torch.tensor([1, 0]), torch.tensor([2, 7]), torch.tensor([3, 9]))
    tables = (encoding.in_degree, encoding.out_degree, encoding.input_distance)
    assert torch.allclose(out[0], sum(t.weight[i] for t, i in zip(tables, (1, 2, 3), strict=True)))
    assert torch.allclose(out[1], sum(t.weight[i] for t, i in zip(tables, (0, 7, 9), strict=True)))
    encoding = CentralityEncoding(8)
    largest = encoding(torch.tensor([100]), torch.tensor([100]), torch.tensor([1000]))
    assert torch.equal(
        encoding(torch.tensor([101]), torch.tensor([999]), torch.tensor([5000])), largest
    )


@pytest.mark.parametrize(
    "options, name", [({"max_degree": None}, "input_distance"), ({"max_distance": None}, "degree")]
)
def test_only_one_kind(options, name):
    encoding = CentralityEncoding(8, **options)
    tables = dict(encoding.named_children())
    assert all(table.endswith(name) for table in tables)
    values = {"in_degree": 1, "out_degree": 2, "input_distance": 3}
    out = encoding(*(torch.tensor([value]) for value in values.values()))
    assert torch.allclose(out[0], sum(table.weight[values[n]] for n, table in tables.items()))
