"""GHN3Conv in a PyG model, on graphs that message passing can't tell apart.

Random features go around a ring twice, or once around each of two rings: which of both is a graph?
From every node the two look the same, step by step, so message passing of any depth (GIN is as
strong as the 1-WL test) answers alike. Shortest paths tell: in two rings, half of the nodes are out
of reach. Every model is trained on PyG's FakeDataset, too, whose features give the classes away.

    python examples/shortest_paths.py
"""

import torch
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.data import Data
from torch_geometric.datasets import FakeDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, GINConv, global_mean_pool
from torch_geometric.utils import to_undirected

from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

FEATURES, CUTOFF = 4, 20
SEEDS, EPOCHS = 3, 20
SIZES = (4, 6, 8)


def rings(num_graphs: int) -> list[Data]:
    """Pairs of one ring of 2n and two rings of n, with the same random features."""
    graphs = []
    for i in range(num_graphs // 2):
        n = SIZES[i % len(SIZES)]
        x = torch.randn(n, FEATURES).repeat(2, 1)
        nodes = torch.arange(2 * n)
        next_in_one, next_in_two = (nodes + 1) % (2 * n), nodes // n * n + (nodes + 1) % n
        for label, after in enumerate((next_in_one, next_in_two)):
            edges = to_undirected(torch.stack([nodes, after]))
            graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([label])))
    return graphs


class MessagePassing(nn.Module):
    """Layers of a PyG convolution, and the mean over the nodes of each graph."""

    def __init__(self, in_channels: int, out_channels: int, channels: int, make_conv):
        super().__init__()
        self.lin_in = nn.Linear(in_channels, channels)
        self.convs = nn.ModuleList(make_conv(channels) for _ in range(4))
        self.lin_out = nn.Linear(channels, out_channels)

    def forward(self, data):
        x = self.lin_in(data.x)
        for conv in self.convs:
            x = x + conv(x, data.edge_index).relu()
        return self.lin_out(global_mean_pool(x, data.batch))


class GraphTransformer(nn.Module):
    """Layers of GHN3Conv, which see the graph through one bias from its shortest paths."""

    def __init__(self, in_channels: int, out_channels: int, channels: int, heads: int = 4):
        super().__init__()
        self.lin_in = nn.Linear(in_channels, channels)
        self.path_bias = ShortestPathBias(heads, channels, CUTOFF)
        self.convs = nn.ModuleList(GHN3Conv(channels, heads) for _ in range(2))
        self.lin_out = nn.Linear(channels, out_channels)

    def forward(self, data):
        x = self.lin_in(data.x)
        attn_bias = self.path_bias(data.spd, data.batch)
        for conv in self.convs:
            x = conv(x, data.batch, attn_bias)
        return self.lin_out(global_mean_pool(x, data.batch))


def gcn(in_channels: int, out_channels: int) -> nn.Module:
    return MessagePassing(in_channels, out_channels, 72, lambda c: GCNConv(c, c))


def gin(in_channels: int, out_channels: int) -> nn.Module:
    def make_conv(channels):
        layers = [nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)]
        return GINConv(nn.Sequential(*layers))

    return MessagePassing(in_channels, out_channels, 52, make_conv)


def ghn3(in_channels: int, out_channels: int) -> nn.Module:
    return GraphTransformer(in_channels, out_channels, 24)


def accuracy(model: nn.Module, train: list[Data], test: list[Data]) -> float:
    """Trains a model and gives the share of test graphs that it gets right."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(EPOCHS):
        for batch in DataLoader(train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), batch.y).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = [(model(b).argmax(dim=1) == b.y).sum() for b in DataLoader(test, batch_size=100)]
    return (sum(hits) / len(test)).item()


def fake(num_graphs: int) -> list[Data]:
    dataset = FakeDataset(num_graphs, avg_num_nodes=12, num_channels=FEATURES, num_classes=2)
    return [Data(x=graph.x, edge_index=graph.edge_index, y=graph.y) for graph in dataset]


TASKS = {"one or two rings": rings, "FakeDataset": fake}
MODELS = {"GCN": gcn, "GIN": gin, "GHN3Conv": ghn3}


def main() -> None:
    encode = AddShortestPathEncoding(CUTOFF)
    print(f"accuracy in % on graphs not trained on: mean of {SEEDS} seeds (least to largest)\n")
    print(f"{'model':<10}{'parameters':>12}" + "".join(f"{task:>25}" for task in TASKS))
    for name, make in MODELS.items():
        cells = ""
        for make_graphs in TASKS.values():
            results = []
            for seed in range(SEEDS):
                seed_everything(seed)
                graphs = [encode(graph) for graph in make_graphs(400)]
                results.append(100 * accuracy(make(FEATURES, 2), graphs[:200], graphs[200:]))
            spread = f"({min(results):.1f} to {max(results):.1f})"
            cells += f"{sum(results) / SEEDS:>8.1f} {spread:>16}"
        size = sum(p.numel() for p in make(FEATURES, 2).parameters())
        print(f"{name:<10}{size:>12,}{cells}")


if __name__ == "__main__":
    main()
