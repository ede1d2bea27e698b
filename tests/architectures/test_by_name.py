import sys

import pytest
import torch
from torch import nn

from pyg_ghn.architectures import Network, build_model
from pyg_ghn.errors import GHNError


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("squeezenet1_1", "classifier.1.weight"),
        ("lraspp_mobilenet_v3_large", "classifier.low_classifier.weight"),
        ("ssdlite320_mobilenet_v3_large", "head.classification_head.module_list.0.1.weight"),
        ("r3d_18", "fc.weight"),
    ],
)
def test_torchvision_models_of_all_tasks(name, head, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail())
    with torch.device("meta"):
        model = build_model(name, {"num_classes": 7})
    assert model.get_parameter(head).shape[0] % 7 == 0


def test_timm_models_and_timm_not_installed(monkeypatch):
    timm = pytest.importorskip("timm")
    name = timm.list_models("resnet10*")[0]
    assert build_model(f"timm:{name}", {"num_classes": 7}).fc.out_features == 7
    with pytest.raises(GHNError, match=r"timm has no model 'resnet9000'.*timm\.list_models"):
        build_model("timm:resnet9000")
    with pytest.raises(GHNError, match=r"failed with the arguments \{.depth.: 3\}"):
        build_model(f"timm:{name}", {"depth": 3})
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(GHNError, match=r"needs timm: pip install 'pyg-ghn\[timm\]'"):
        build_model("timm:resnet18")


def test_own_factories_and_networks_of_deepnets():
    model = build_model("torch.nn:Linear", {"in_features": 2, "out_features": 3})
    assert isinstance(model, nn.Linear) and model.out_features == 3
    model = build_model("deepnets:wide/0", {"input_size": [3, 8, 8]})
    assert isinstance(model, Network) and model.input_size == (3, 8, 8)
    assert build_model("deepnets:wide/0", input_size=[3, 8, 8]).input_size == (3, 8, 8)
    with pytest.raises(GHNError, match="by its name, a string, got <class"):
        build_model(nn.Linear)
    for name in ("deepnets:wide/100", "deepnets:none/0", "deepnets:test"):
        with pytest.raises(GHNError, match=r"has no network .*; splits: train \(1,000,000\)"):
            build_model(name)
