"""GHN3Conv on ogbg-molhiv, a benchmark of molecules: which of them inhibit HIV replication?

    pip install 'pyg-ghn[ogb]'
    python examples/ogbg_molhiv.py --epochs 30       # downloads the data set on first use

``train`` and ``evaluate`` take any data set of molecules in OGB's format.
"""

import argparse

import torch
from ogb.graphproppred import Evaluator, PygGraphPropPredDataset
from ogb.graphproppred.mol_encoder import AtomEncoder
from torch import Tensor, nn
from torch_geometric.loader import DataLoader
from torch_geometric.nn import global_mean_pool

from pyg_ghn.datasets.ogb import ogb_globals
from pyg_ghn.nn import CentralityEncoding, GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddDegreeEncoding, AddShortestPathEncoding

NAME, CUTOFF = "ogbg-molhiv", 20


class GraphTransformer(nn.Module):
    """Atoms attend to each other with a bias from their distance along bonds."""

    def __init__(self, channels: int = 64, num_layers: int = 4, heads: int = 8) -> None:
        super().__init__()
        self.atoms = AtomEncoder(channels)
        self.centrality = CentralityEncoding(channels)
        self.path_bias = ShortestPathBias(heads, channels, CUTOFF)
        self.convs = nn.ModuleList(GHN3Conv(channels, heads) for _ in range(num_layers))
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 1))

    def forward(self, data) -> Tensor:
        x = self.atoms(data.x)
        x = x + self.centrality(data.in_degree, data.out_degree, data.input_distance)
        attn_bias = self.path_bias(data.spd, data.batch)  # once for all layers
        for conv in self.convs:
            x = conv(x, data.batch, attn_bias)
        return self.head(global_mean_pool(x, data.batch))


def encode(data):
    """Bonds lead both ways, so distances are symmetric."""
    return AddShortestPathEncoding(CUTOFF)(AddDegreeEncoding()(data))


def train(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """One epoch; returns the mean loss."""
    device, total = next(model.parameters()).device, 0.0
    model.train()
    for data in loader:
        data = data.to(device)
        loss = nn.functional.binary_cross_entropy_with_logits(model(data), data.y.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * data.num_graphs
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, evaluator: Evaluator) -> float:
    """The area under the ROC curve, as OGB's evaluator gives it."""
    device = next(model.parameters()).device
    model.eval()
    batches = [(data.y, model(data.to(device)).cpu()) for data in loader]
    y_true, y_pred = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return evaluator.eval({"y_true": y_true, "y_pred": y_pred})["rocauc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data/ogb")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    # OGB's files hold PyG objects, which torch.load refuses by default since torch 2.6.
    with torch.serialization.safe_globals(ogb_globals()):
        dataset = PygGraphPropPredDataset(NAME, root=options.root, transform=encode)
    parts = dataset.get_idx_split()
    loaders = {
        part: DataLoader(dataset[parts[part]], batch_size=64, shuffle=part == "train")
        for part in ("train", "valid", "test")
    }
    model = GraphTransformer().to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=1e-2)
    evaluator = Evaluator(NAME)
    for epoch in range(options.epochs):
        loss = train(model, loaders["train"], optimizer)
        scores = {part: evaluate(model, loaders[part], evaluator) for part in ("valid", "test")}
        print(f"epoch {epoch}: loss {loss:.4f}, ROC-AUC {scores}", flush=True)


if __name__ == "__main__":
    main()
