import io
import json

import pytest

from pyg_ghn.datasets import json_stream
from pyg_ghn.datasets.json_stream import JsonStream

DOCUMENT = {
    "skipped": {"a": [1, {"b": None}], "c": "}]"},
    "items": [{"x": 1.5}, [], 'ä\n"', -12, True, {"long": "y" * 100}],
    "none": [],
    "number": 1234567890,
    "empty": {},
}


@pytest.fixture(params=[1, 2, 7, 1 << 20], autouse=True)
def _chunk(request, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", request.param)


def read(text):
    stream, found = JsonStream(io.StringIO(text)), {}
    for key in stream.members():
        found[key] = list(stream.items()) if key in ("items", "none") else stream.value()
    return found


@pytest.mark.parametrize("indent", [None, 4])
def test_whole_document(indent):
    assert read(json.dumps(DOCUMENT, indent=indent)) == DOCUMENT
    assert read(" { } ") == {}


def test_every_truncation_is_noticed():
    text = json.dumps(DOCUMENT)
    for end in range(len(text)):
        with pytest.raises(ValueError, match="ends too early or is no JSON"):
            read(text[:end])


@pytest.mark.parametrize(
    "text", ["[1]", '{"items": {}}', '{"a": 1 "b": 2}', '{"a": 01}', '{"a"}', '{"a": 1,}', "\0"]
)
def test_other_texts(text):
    with pytest.raises(ValueError, match="is no JSON"):
        read(text)


def test_values_are_bounded(monkeypatch):
    monkeypatch.setattr(json_stream, "LIMIT", 1000)
    file = io.StringIO('{"a": "' + "x" * 10_000_000)
    with pytest.raises(ValueError, match="is no JSON"):
        for _ in (stream := JsonStream(file)).members():
            stream.value()
    assert file.tell() < 3_000_000
