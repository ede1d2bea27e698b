import pytest
import torch

from pyg_ghn.errors import ConfigError, DecodeError
from pyg_ghn.nn import ShapeEncoding
from pyg_ghn.nn.encodings import as_4d


def rows(encoding, shape):
    """The rows of both tables that a shape is made of, read off the output."""
    with torch.no_grad():
        encoding.channel.weight.copy_(torch.arange(encoding.channel.num_embeddings)[:, None])
        encoding.kernel.weight.copy_(torch.arange(encoding.kernel.num_embeddings)[:, None])
        return encoding([shape])[0].tolist()


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((64,), (64, 1, 1, 1)),
        ((64, 32), (64, 32, 1, 1)),
        ((64, 32, 3, 5), (64, 32, 3, 5)),
        ((64, 32, 3), (64, 32, 3, 1)),
        ((1, 197, 768), (1, 768, 14, 14)),
        ((1, 49, 768), (1, 768, 7, 7)),
        ((1, 1, 768), (1, 1, 768, 1)),
        ((1, 768, 1), (1, 768, 1, 1)),
    ],
)
def test_as_4d(shape, expected):
    assert as_4d(shape) == expected


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4, 5)])
def test_shape_without_4d_form(shape):
    with pytest.raises(DecodeError, match="1 to 4 dimensions"):
        ShapeEncoding(8)([shape])


def test_sizes_of_the_tables_and_rows_of_classes_and_no_shape():
    assert ShapeEncoding(16, 16, 10).channel.weight.shape == (392, 4)
    assert ShapeEncoding(16, 16, 10).kernel.weight.shape == (11, 4)
    assert ShapeEncoding(16, 11, 10).kernel.weight.shape == (9, 4)
    assert ShapeEncoding(16, 16, 64).channel.weight.shape == (391, 4)  # 64 is known anyway
    with pytest.raises(ConfigError, match="multiple of 4, got 6"):
        ShapeEncoding(6)
    encoding = ShapeEncoding(4, 16, 6)
    assert rows(encoding, (6, 6, 1, 1))[:2] == [2, 2]
    assert rows(encoding, (5, 7, 1, 1))[:2] == [3, 3]
    encoding = ShapeEncoding(4, 16, 10)
    assert rows(encoding, None) == [391, 391, 10, 10]


@pytest.mark.parametrize(
    "size, known",
    # 1, 3, 8, 10, 16, 24 ... 56, 64, 80 ... 4080, 4096, 4128 ... 8192 with 10 classes
    [
        *[(1, 1), (2, 1), (3, 3), (4, 8), (7, 8), (8, 8), (9, 8), (10, 10), (13, 10), (14, 16)],
        *[(60, 56), (61, 64), (72, 64), (73, 80), (4112, 4096), (4113, 4128), (9999, 8192)],
    ],
)
def test_nearest_channels(size, known):
    encoding = ShapeEncoding(4, 16, 10)
    assert rows(encoding, (size, 1, 1, 1))[0] == rows(encoding, (known, 1, 1, 1))[0]
    exact = sorted({1, 3, 10, *range(8, 64, 8), *range(64, 4096, 16), *range(4096, 8193, 32)})
    assert rows(encoding, (1, size, 1, 1))[1] == exact.index(known)


@pytest.mark.parametrize(
    "size, known", [(8192, 8192), (15_000, 8192), (20_000, 8192), (21_843, 21_843), (10**9, 8192)]
)
def test_more_classes_than_the_largest_size(size, known):
    encoding = ShapeEncoding(4, 16, 21_843)
    assert rows(encoding, (size, size, 1, 1))[:2] == rows(encoding, (known, known, 1, 1))[:2]
    last = encoding.channel.num_embeddings - 1
    assert rows(encoding, (size, size, 1, 1))[0] == last - (1 if known == 21_843 else 2)


@pytest.mark.parametrize(
    "size, row",
    # 1, 3, 5, 7, 9, 11, 13, 14, 15, 16
    [(1, 0), (2, 1), (3, 1), (4, 1), (6, 2), (12, 5), (13, 6), (14, 7), (15, 8), (16, 9), (99, 9)],
)
def test_nearest_kernels(size, row):
    assert rows(ShapeEncoding(4, 16, 10), (1, 1, size, 1)) == [0, 0, row, 0]


def test_output_and_gradients():
    encoding = ShapeEncoding(8)
    out = encoding([None, (3, 4), (3, 4)])
    assert out.shape == (3, 8) and torch.equal(out[1], out[2])
    out.sum().backward()
    assert encoding.channel.weight.grad.any() and encoding.kernel.weight.grad.any()
    assert encoding([]).shape == (0, 8)
