import json

import pytest

from pyg_ghn.nn import ParameterReport, PredictionReport, Status


@pytest.fixture
def report():
    blocks = [
        ParameterReport(f"blocks.{i}.gamma", (8,), reason="used by no supported operation (mul)")
        for i in range(400)
    ]
    return PredictionReport(
        [
            ParameterReport("stem.weight", (64, 3, 24, 24), tiles=(2, 1),
                            interpolated=((7, 7), (24, 24))),
            ParameterReport("pos", (1, 10, 24), random_values=24, interpolated=((2, 2), (3, 3))),
            *blocks,
            ParameterReport("norm.weight", (40,), tiles=(5, 1), tied=("other.weight",)),
            ParameterReport("head.weight", (10, 64), note="head.weight is the prediction"),
        ],
        notes=["BatchNorm keeps its running statistics."],
    )  # fmt: skip


def test_statuses_in_their_order_counts_and_details(report):
    found = [report[name].status for name in ("head.weight", "norm.weight", "stem.weight", "pos")]
    assert [*found, report[2].status] == list(Status)
    assert report["other.weight"] is report["norm.weight"]
    counts = {"predicted": (1, 640), "tiled": (1, 40), "interpolated": (1, 64 * 3 * 24 * 24)}
    assert report.counts == counts | {"partly random": (1, 240), "left": (400, 3200)}
    assert len(report) == 404 and len(report.left) == 400
    assert report.num_predicted == report.num_values - 3200 - 24
    assert report["stem.weight"].detail == (
        "repeated 2 x 1 times (out x in); interpolated from 7 x 7 to 24 x 24"
    )
    assert "24 values drawn at random" in report["pos"].detail
    assert report["blocks.3.gamma"].detail == "used by no supported operation (mul)"
    assert report["norm.weight"].detail.endswith("tied with other.weight")


def test_summaries_are_short(report):
    lines = str(report).splitlines()
    assert lines[0] == "predicted: 4 of 404 parameters, 111,488 of 114,712 values"
    assert lines[1].split() == "predicted 1 parameter 640 values".split()
    assert "up to 24 x 24 from 7 x 7" in lines[3] and "24 of them random" in lines[4]
    assert (
        "  blocks.*.gamma (400 parameters, 3,200 values): used by no supported operation (mul)"
        in lines
    )
    assert "  norm.weight (40 values): tied with other.weight" in lines
    assert lines[-1] == "BatchNorm keeps its running statistics." and len(lines) == 13
    names = [f"{a}{b}.weight" for a in "abcd" for b in "wxyz"]
    report = PredictionReport(ParameterReport(n, (2,), reason="never used") for n in names)
    lines = report.summary(most=3).splitlines()
    assert lines[3:] == [f"  {n} (2 values): never used" for n in names[:3]] + ["  and 13 more"]


def test_json_and_repr(report):
    read = json.loads(json.dumps(report.to_dict()))
    assert read["counts"]["left"] == {"parameters": 400, "values": 3200}
    expected = {"name": "stem.weight", "shape": [64, 3, 24, 24], "status": "interpolated"}
    expected |= {"reason": "", "tiles": [2, 1], "interpolated": [[7, 7], [24, 24]]}
    assert read["parameters"][0] == expected | {"random_values": 0, "note": "", "tied": []}
    assert repr(report) == (
        "PredictionReport(predicted=1, tiled=1, interpolated=1, partly random=1, left=400)"
    )
