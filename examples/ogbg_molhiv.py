"""GHN3Conv on ogbg-molhiv: which molecules inhibit HIV? (pip install ogb)

Each layer is a GINEConv over bonds, as in message passing, and a GHN3Conv over all pairs of atoms,
biased by the number of bonds between them. The data set is downloaded on the first run.

    python examples/ogbg_molhiv.py --root DIR
"""

import argparse
from contextlib import nullcontext

import numpy as np
import torch
from ogb.graphproppred import Evaluator, PygGraphPropPredDataset
from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_mean_pool

from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

NAME, CUTOFF = "ogbg-molhiv", 20


class Network(nn.Module):
    """Message passing along bonds and attention over molecules in turn; one logit a molecule."""

    def __init__(self, channels: int, num_layers: int, heads: int):
        super().__init__()
        self.atoms = AtomEncoder(channels)
        self.path_bias = ShortestPathBias(heads, channels, CUTOFF)
        self.bonds = nn.ModuleList(BondEncoder(channels) for _ in range(num_layers))
        self.local = nn.ModuleList(GINEConv(mlp(channels)) for _ in range(num_layers))
        self.attend = nn.ModuleList(GHN3Conv(channels, heads) for _ in range(num_layers))
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Dropout(0.3), nn.Linear(channels, 1))

    def forward(self, data):
        x = self.atoms(data.x)
        attn_bias = self.path_bias(data.spd, data.batch)  # once for all layers
        for bond, local, attend in zip(self.bonds, self.local, self.attend, strict=True):
            x = x + local(x, data.edge_index, bond(data.edge_attr)).relu()
            x = attend(x, data.batch, attn_bias)
        return self.head(global_mean_pool(x, data.batch))


def mlp(channels: int) -> nn.Module:
    layers = nn.Linear(channels, channels), nn.BatchNorm1d(channels), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(channels, channels))


def load(root: str) -> dict[str, list[Data]]:
    """The molecules of each split, with path lengths."""
    # ogb calls torch.load without arguments, which since torch 2.6 reads tensors only: this is what
    # its files consist of besides them.
    kinds = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, np.ndarray, np.dtype]
    kinds += [type(np.dtype(np.int64)), np.empty(0).__reduce__()[0], np.int64(0).__reduce__()[0]]
    admitted = torch.serialization.get_safe_globals()  # these must not be taken back afterwards
    with torch.serialization.safe_globals([kind for kind in kinds if kind not in admitted]):
        dataset = PygGraphPropPredDataset(NAME, root=root)
        splits = dataset.get_idx_split()
    encode = AddShortestPathEncoding(CUTOFF)
    return {split: [encode(dataset[i]) for i in index.tolist()] for split, index in splits.items()}


def train_epoch(model: nn.Module, loader: DataLoader, optimizer, device: torch.device) -> float:
    model.train()
    total = 0.0
    for batch in loader:
        batch = batch.to(device)
        amp = device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if amp else nullcontext():
            logits = model(batch)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), batch.y.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * batch.num_graphs
    return total / len(loader.dataset)


@torch.no_grad()
def rocauc(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    model.eval()
    batches = [batch.to(device) for batch in loader]
    y_pred = torch.cat([model(batch) for batch in batches])
    y_true = torch.cat([batch.y for batch in batches])
    return Evaluator(NAME).eval({"y_true": y_true, "y_pred": y_pred})["rocauc"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="data", help="where the data set is, or goes")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    seed_everything(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaders = {
        split: DataLoader(graphs, args.batch_size, shuffle=split == "train")
        for split, graphs in load(args.root).items()
    }
    model = Network(args.channels, args.layers, args.heads).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-2)
    best_valid = best_test = 0.0
    for epoch in range(1, args.epochs + 1):
        loss = train_epoch(model, loaders["train"], optimizer, device)
        valid, test = (rocauc(model, loaders[split], device) for split in ("valid", "test"))
        if valid > best_valid:
            best_valid, best_test = valid, test
        print(f"epoch {epoch}: loss {loss:.4f}, ROC-AUC valid {valid:.4f}, test {test:.4f}")
    print(f"test ROC-AUC of the epoch with the best validation: {best_test:.4f}")


if __name__ == "__main__":
    main()
