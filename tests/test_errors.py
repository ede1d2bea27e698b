import pytest
from torch import nn

from pyg_ghn import from_pretrained
from pyg_ghn.checkpoint import save_pretrained
from pyg_ghn.errors import ConfigError
from pyg_ghn.training import FinetuneConfig, finetune, train


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: from_pretrained(None), "must be of type str or Path, got NoneType"),
        (lambda path: save_pretrained(nn.Linear(2, 2), path), "must be of type GHN, got Linear"),
        (lambda path: train({"steps": 3}), r"config must be of type TrainConfig, got dict"),
        (lambda path: finetune(nn.Linear(2, 2), "digits"), "images must be .*get_image_data"),
        (lambda path: finetune(nn.Linear, "digits"), r"must be a torch\.nn\.Module, got Linear"),
        (lambda path: FinetuneConfig(evaluate_at="5"), "a list of steps from 1 to 200, got '5'"),
        (lambda path: FinetuneConfig(evaluate_at=5), "a list of steps from 1 to 200, got 5"),
    ],
)
def test_arguments_of_another_type_are_named(call, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        call(tmp_path / "file")
    assert not list(tmp_path.iterdir())
