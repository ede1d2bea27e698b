import pytest
import torch
from torch_geometric.data import Data, HeteroData

from pyg_ghn.errors import GraphError
from pyg_ghn.nn import GHN3
from pyg_ghn.transforms import (
    AddDegreeEncoding,
    AddShortestPathEncoding,
    AddTopologicalLevel,
    RequireAcyclic,
)


def test_acyclic_graphs_pass_in_any_order():
    for edges in ([[0, 1], [1, 2]], [[2, 1], [1, 0]], []):
        edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
        data = Data(edge_index=edge_index, num_nodes=3)
        assert RequireAcyclic()(data) is not None
        assert torch.equal(data.edge_index, edge_index)


def test_cycles_are_named():
    data = Data(
        x=torch.tensor([[9], [4], [4]]),
        edge_index=torch.tensor([[0, 1, 2], [1, 2, 1]]),
        param_name=[None, "a.weight", "b.weight"],
    )
    with pytest.raises(GraphError, match=r"1 \(a.weight\) -> 2 \(b.weight\) -> 1"):
        RequireAcyclic()(data)
    ghn = GHN3(hidden_channels=16, num_layers=1, heads=4, max_shape=(16, 16, 3, 3), num_classes=5)
    with pytest.raises(GraphError, match="cycle"):
        ghn.transform(data)
    with pytest.raises(GraphError, match="1 -> 1"):
        RequireAcyclic()(Data(edge_index=torch.tensor([[0, 1], [1, 1]]), num_nodes=2))


@pytest.mark.parametrize(
    "transform", [RequireAcyclic, AddDegreeEncoding, AddShortestPathEncoding, AddTopologicalLevel]
)
def test_graphs_that_no_transform_takes(transform):
    with pytest.raises(GraphError, match="no `edge_index`"):
        transform()(Data(num_nodes=2))
    with pytest.raises(GraphError, match="to_homogeneous"):
        transform()(HeteroData())
    if transform is not RequireAcyclic:
        with pytest.raises(GraphError, match="nodes 0 to 5, but the graph has 3 nodes"):
            transform()(Data(edge_index=torch.tensor([[0], [5]]), num_nodes=3))
