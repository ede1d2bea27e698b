"""GHN3Conv on computational graphs: how large is a network, and how well will it do?

Networks of DeepNets-1M are drawn at random. From its graph, a model is to tell the number of a
network's parameters, and the share of digits that it classifies with the parameters that the
packaged GHN predicts for it. Finding the latter takes the longest, so they are kept in a file.
Nodes know their operation and the shape of its parameter, graphs know their edges.

    python examples/deepnets_regression.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch_geometric import seed_everything
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MLP, GINConv, GPSConv, global_max_pool, global_mean_pool
from torch_geometric.utils import to_undirected

import pyg_ghn
from pyg_ghn.architectures import count_parameters, draw_width, network_from_args, split_net_args
from pyg_ghn.evaluation import accuracy
from pyg_ghn.graph import from_module
from pyg_ghn.graph.primitives import PRIMITIVES
from pyg_ghn.images import get_image_data
from pyg_ghn.nn import GHN3Conv, ShortestPathBias
from pyg_ghn.transforms import AddShortestPathEncoding

GHN, CUTOFF, LAYERS, HEADS = "ghn3-digits", 50, 3, 4
TARGETS = "log10 of parameters", "accuracy in %"


def networks(num: int) -> list[dict]:
    """The arguments of networks, each with a width of its own."""
    drawn = enumerate(split_net_args("train", num))
    return [args | draw_width(args, np.random.default_rng(i)) for i, args in drawn]


def accuracies(all_args: list[dict], cache: Path) -> list[float]:
    """The share of digits that each network classifies; those in the file are not computed."""
    found = json.loads(cache.read_text()) if cache.exists() else []
    ghn, digits = pyg_ghn.from_pretrained(GHN).eval(), get_image_data("digits")
    for args in all_args[len(found) :]:
        network = network_from_args(args, input_size=digits.input_size, device="meta")
        with torch.no_grad():
            params = ghn.predict(network, digits.input_size)
        found.append(accuracy(network, params, digits.test, device="cpu")["top1"])
        cache.write_text(json.dumps(found))
        if len(found) % 50 == 0:
            print(f"{len(found)} networks evaluated", flush=True)
    return found[: len(all_args)]


def graphs(num: int, cache: Path) -> list[Data]:
    """The graphs of networks with both targets, and the paths for the bias."""
    all_args, encode, size = networks(num), AddShortestPathEncoding(CUTOFF), (3, 8, 8)
    made = []
    for args, share in zip(all_args, accuracies(all_args, cache), strict=True):
        graph = from_module(network_from_args(args, input_size=size, device="meta"), size)
        shapes = torch.zeros(graph.num_nodes, 4)
        for row, shape in zip(shapes, graph.param_shape, strict=True):
            row[: len(shape or ())] = torch.tensor(shape or (), dtype=torch.float)
        targets = [np.log10(count_parameters(args, input_size=size)), 100 * share]
        data = Data(x=graph.x[:, 0], shapes=shapes.log1p(), edge_index=graph.edge_index)
        data.y = torch.tensor([targets], dtype=torch.float)
        data.both_index = to_undirected(graph.edge_index)  # messages go both ways
        made.append(encode(data))
    return made


class Model(nn.Module):
    """Layers of one kind, and mean and maximum over the nodes of each graph."""

    def __init__(self, channels: int, make_layer):
        super().__init__()
        self.operations = nn.Embedding(len(PRIMITIVES), channels)
        self.shapes = nn.Linear(4, channels)
        self.layers = nn.ModuleList(make_layer(channels) for _ in range(LAYERS))
        self.path_bias = None
        self.head = MLP([2 * channels, channels, len(TARGETS)], norm=None)

    def forward(self, data):
        x = self.operations(data.x) + self.shapes(data.shapes)
        attn_bias = self.path_bias(data) if self.path_bias else None
        for layer in self.layers:
            if isinstance(layer, GHN3Conv):
                x = layer(x, data.batch, attn_bias)
            elif isinstance(layer, GPSConv):
                x = layer(x, data.both_index, data.batch)
            else:
                x = x + layer(x, data.both_index).relu()
        pooled = [pool(x, data.batch) for pool in (global_mean_pool, global_max_pool)]
        return self.head(torch.cat(pooled, dim=1))


def gin_conv(channels: int) -> GINConv:
    return GINConv(MLP([channels] * 3))


def gin() -> Model:
    return Model(78, gin_conv)


def gps() -> Model:
    return Model(40, lambda c: GPSConv(c, gin_conv(c), HEADS, attn_type="multihead"))


def ghn3() -> Model:
    model = Model(32, lambda c: GHN3Conv(c, HEADS))
    model.path_bias = ShortestPathBias(HEADS, 32, CUTOFF)
    return model


MODELS = {"GIN": gin, "GPSConv": gps, "GHN3Conv": ghn3}


def predictions(model: Model, train: list[Data], test: list[Data], epochs: int) -> torch.Tensor:
    """Trains a model on some graphs and gives its answers for others."""
    y = torch.cat([graph.y for graph in train])
    center, scale = y.median(dim=0).values, y.quantile(0.75, dim=0) - y.quantile(0.25, dim=0)
    loader = DataLoader(train, batch_size=16, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * len(loader))
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            # A few networks fail altogether: their error must not drown the others'
            nn.functional.l1_loss(model(batch), (batch.y - center) / scale).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        answers = [model(batch) for batch in DataLoader(test, batch_size=50)]
    return torch.cat(answers) * scale + center


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's coefficient (ties in their order)."""
    ranks = torch.stack([a, b]).argsort(stable=True).argsort(stable=True).double()
    return torch.corrcoef(ranks)[0, 1].item()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=int, default=300, help="a third of them for the test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("deepnets_accuracies.json"))
    args = parser.parse_args(argv)

    data = graphs(args.networks, args.cache)
    split = len(data) // 3
    test, train = data[:split], data[split:]
    y = torch.cat([graph.y for graph in test])
    print(f"{len(train)} networks to train on, {len(test)} to test, {args.epochs} epochs;")
    print(f"mean absolute error / rank correlation, mean of {args.seeds} seeds (least to largest)")
    print(f"\n{'model':<10}{'parameters':>12}" + "".join(f"{target:>46}" for target in TARGETS))
    constant = torch.cat([graph.y for graph in train]).median(dim=0).values.expand_as(y)
    results = {"median": [constant]}
    for name, make in MODELS.items():
        results[name] = []
        for seed in range(args.seeds):
            seed_everything(seed)
            results[name].append(predictions(make(), train, test, args.epochs))
    for name, answers in results.items():
        size = sum(p.numel() for p in MODELS[name]().parameters()) if name in MODELS else 0
        line = f"{name:<10}{size:>12,}"
        for i in range(len(TARGETS)):
            errors = [(answer[:, i] - y[:, i]).abs().mean().item() for answer in answers]
            ranks = [rank_correlation(answer[:, i], y[:, i]) for answer in answers]
            cell = f"{shown(errors)} / {shown(ranks) if name in MODELS else '-'}"
            line += f"{cell:>46}"
        print(line)


def shown(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
