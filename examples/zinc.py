"""GHN3Conv on ZINC: the constrained solubility of molecules, by the mean absolute error.

Each layer is a GINEConv over bonds, as in message passing, and a GHN3Conv over all pairs of atoms,
biased by the number of bonds between them. PyG downloads the data set (12,000 molecules of the
usual subset) on the first run; the paths are stored with it.

    python examples/zinc.py --root DIR
"""

import argparse

import torch
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.datasets import ZINC
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MLP, GINEConv, global_add_pool

from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

ATOMS, BONDS, CUTOFF = 28, 4, 20


class Network(nn.Module):
    """Message passing along bonds and attention over molecules in turn; one number a molecule."""

    def __init__(self, channels: int, num_layers: int, heads: int):
        super().__init__()
        self.atoms = nn.Embedding(ATOMS, channels)
        self.bonds = nn.Embedding(BONDS, channels)
        self.path_bias = ShortestPathBias(heads, channels, CUTOFF)
        self.local = nn.ModuleList(GINEConv(MLP([channels] * 3)) for _ in range(num_layers))
        self.attend = nn.ModuleList(GHN3Conv(channels, heads) for _ in range(num_layers))
        self.head = MLP([channels, channels, 1], norm=None)

    def forward(self, data):
        x, bonds = self.atoms(data.x.squeeze(1)), self.bonds(data.edge_attr)
        attn_bias = self.path_bias(data)  # once for all layers
        for local, attend in zip(self.local, self.attend, strict=True):
            x = x + local(x, data.edge_index, bonds).relu()
            x = attend(x, data.batch, attn_bias)
        return self.head(global_add_pool(x, data.batch)).squeeze(1)


def error(model: nn.Module, batch) -> torch.Tensor:
    return nn.functional.l1_loss(model(batch), batch.y)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="data/zinc", help="where the data set is, or goes")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    seed_everything(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encode = AddShortestPathEncoding(CUTOFF)
    loaders = {}
    for split in ("train", "val", "test"):
        dataset = ZINC(args.root, subset=True, split=split, pre_transform=encode)
        loaders[split] = DataLoader(dataset, args.batch_size, shuffle=split == "train")
    model = Network(args.channels, args.layers, args.heads).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-5)
    best = {"val": float("inf")}
    for epoch in range(1, args.epochs + 1):
        model.train()
        for batch in loaders["train"]:
            optimizer.zero_grad()
            error(model, batch.to(device)).backward()
            optimizer.step()
        model.eval()
        now = {}
        with torch.no_grad():
            for split in ("val", "test"):
                errors = [error(model, b.to(device)) * b.num_graphs for b in loaders[split]]
                now[split] = (sum(errors) / len(loaders[split].dataset)).item()
        best = min(best, now, key=lambda errors: errors["val"])
        print(f"epoch {epoch}: error val {now['val']:.4f}, test {now['test']:.4f}", flush=True)
    print(f"test error of the epoch with the best validation: {best['test']:.4f}")


if __name__ == "__main__":
    main()
