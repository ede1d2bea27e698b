import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_ghn.training import meta_loss


@pytest.mark.parametrize("penalty, power", [("norm", 1), ("squared", 2), ("none", None)])
def test_loss_of_equation_10(penalty, power):
    with torch.device("meta"):
        model = nn.Linear(4, 3)
    params = {"weight": torch.randn(3, 4, requires_grad=True), "bias": torch.randn(3)}
    images, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    loss, accuracy = meta_loss(model, params, images, labels, 0.1, 0.2, penalty)
    logits = images @ params["weight"].t() + params["bias"]
    expected = F.cross_entropy(logits, labels, label_smoothing=0.2)
    if power:
        expected += 0.1 * sum(param.norm() ** power for param in params.values())
    torch.testing.assert_close(loss, expected)
    assert accuracy == (logits.argmax(1) == labels).float().mean()
    loss.backward()
    assert params["weight"].grad.abs().sum() > 0


def test_a_network_that_is_no_skeleton_keeps_its_buffers():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))
    model.append(nn.BatchNorm1d(3))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    images, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    losses = [meta_loss(model, dict(model.named_parameters()), images, labels)[0] for _ in range(2)]
    assert losses[0] == losses[1]
    after = dict(model.named_buffers())
    assert after.keys() == before.keys() and all(torch.equal(after[n], before[n]) for n in before)
