import pytest
import torch
from torch_geometric.data import Batch


@pytest.fixture
def script(example):
    return example("shortest_paths")


def answers(script, make):
    """A model's answers for pairs of one ring and two."""
    model = make(script.FEATURES, 2).double().eval()
    encode = script.AddShortestPathEncoding(script.CUTOFF)
    batch = Batch.from_data_list([encode(graph) for graph in script.rings(20)])
    batch.x = batch.x.double()
    assert batch.y.tolist() == [0, 1] * 10
    one, two = model(batch).view(10, 2, 2).unbind(dim=1)
    return one, two


@pytest.mark.parametrize("name", ["gcn", "gin"])
def test_message_passing_answers_alike_for_one_ring_and_two(name, script):
    assert torch.allclose(*answers(script, getattr(script, name)), atol=1e-10)


def test_paths_tell(script):
    one, two = answers(script, script.ghn3)
    assert not torch.isclose(one, two, atol=1e-6).all(dim=1).any()


def test_models_are_of_equal_size(script):
    sizes = [
        sum(p.numel() for p in make(script.FEATURES, 2).parameters())
        for make in script.MODELS.values()
    ]
    assert max(sizes) < 1.05 * min(sizes)


def test_prints_a_table(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "SEEDS", 1)
    monkeypatch.setattr(script, "EPOCHS", 1)
    script.main()
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[2:]] == ["model", "GCN", "GIN", "GHN3Conv"]
    assert "50.0   (50.0 to 50.0)" in table[3] and "50.0   (50.0 to 50.0)" in table[4]
