import torch
from torch import nn

from pyg_ghn.nn.aliases import distinct_parameters


def names(model):
    return [(d.names, d.memory) for d in distinct_parameters(model)]


def test_tied_parameters_are_one():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[2].weight = nn.Parameter(model[0].weight.detach())  # another object, the same memory
    assert [n for n, _ in names(model)] == [
        ("0.weight", "1.weight", "2.weight"),
        ("0.bias",),
        ("1.bias",),
        ("2.bias",),
    ]


def test_views_of_the_same_memory_are_entangled():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    memory = dict(names(model))
    assert memory[("0.weight",)] == memory[("1.weight",)] != memory[("0.bias",)]


def test_parts_of_one_storage_are_not_entangled():
    flat = torch.zeros(24)
    model = nn.ParameterList([nn.Parameter(flat[:12].view(3, 4)), nn.Parameter(flat[12:])])
    assert len({memory for _, memory in names(model)}) == 2
    model.append(nn.Parameter(flat[10:14]))
    assert len({memory for _, memory in names(model)}) == 1
    columns = flat.view(6, 4)
    model = nn.ParameterList([nn.Parameter(columns[:, :2]), nn.Parameter(columns[:, 2:])])
    assert len({memory for _, memory in names(model)}) == 2


def test_parameters_without_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model.append(nn.ParameterList([nn.Parameter(torch.empty(0, 2))]))
    found = names(model)
    assert found[0][0] == ("0.weight", "1.weight") and len(found) == 4
