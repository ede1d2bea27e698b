import pytest
from torch import nn

from pyg_ghn.graph import from_module
from pyg_ghn.graph.draw.blocks import blocks_of
from pyg_ghn.graph.draw.nodes import nodes_of


def paths(nodes):
    return [".".join(block.path) for block in blocks_of(nodes)]


def test_residual_stages_are_split_into_blocks(graph_of):
    nodes = nodes_of(graph_of("resnet50"))
    stages = [f"layer{i + 1}.{j}" for i, depth in enumerate((3, 4, 6, 3)) for j in range(depth)]
    assert paths(nodes) == ["", *stages, ""]
    first, *_, last = blocks_of(nodes)
    assert [nodes[i].op for i in first.nodes] == ["input", "conv", "bn", "max_pool"]
    assert [nodes[i].op for i in last.nodes] == ["glob_avg", "conv", "bias"]


def test_parallel_branches_stay_together(graph_of):
    nodes = nodes_of(graph_of("googlenet"))
    found = {path: block for path, block in zip(paths(nodes), blocks_of(nodes), strict=True)}
    assert {"inception3a", "inception5b", "aux1"} <= set(found)
    ops = [nodes[i].op for i in found["inception3a"].nodes]
    assert ops.count("max_pool") == 1 and ops.count("conv") == 6  # its own pool, not the one before


@pytest.mark.parametrize("name", ["densenet121", "vit_b_16", "swin_t", "mobilenet_v3_small", 0, 7])
def test_every_node_is_in_one_block_and_no_edge_goes_back(name, graph_of):
    nodes = nodes_of(graph_of(name))
    blocks = blocks_of(nodes)
    assert sorted(place for block in blocks for place in block.nodes) == list(range(len(nodes)))
    block_of = {place: i for i, block in enumerate(blocks) for place in block.nodes}
    assert all(block_of[p] <= block_of[i] for i, node in enumerate(nodes) for p in node.preds)
    assert max(len(block.nodes) for block in blocks) < len(nodes) / 2


class Interleaved(nn.Module):
    """Two lists of layers that take turns."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1, bias=False) for _ in range(20))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(20))

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x))
        return x


def test_modules_that_take_turns():
    nodes = nodes_of(from_module(Interleaved()))
    assert paths(nodes) == ["", *["convs", "norms"] * 20]
