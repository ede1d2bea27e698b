r"""The encodings of many acyclic graphs at once, so that they share the cost of NumPy's calls."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor

_FAR = np.int16(1 << 14)
MAX_NODES = 1 << 12  # so that paths that pass all nodes can be added to _FAR


class FlatValues(NamedTuple):
    r"""An attribute of many graphs: the values of all, concatenated, and how many each has."""

    values: Tensor
    sizes: np.ndarray


class Graphs:
    r"""Acyclic graphs, concatenated, nodes of each in topological order.

    Args:
        num_nodes (numpy.ndarray): Number of nodes of each graph: 1 to :obj:`MAX_NODES`.
        num_edges (numpy.ndarray): Number of edges of each graph.
        edges (numpy.ndarray): Sources and targets, numbered over all graphs, sorted by source.
            Distinct edges, each from a node to a later one.
    """

    def __init__(self, num_nodes: np.ndarray, num_edges: np.ndarray, edges: np.ndarray):
        self.num_nodes = num_nodes
        self.num_edges = num_edges
        self.edges = edges
        total = int(num_nodes.sum())
        self.out_degrees, self.in_degrees = (np.bincount(ends, minlength=total) for ends in edges)

    @cached_property
    def starts(self) -> np.ndarray:
        r"""The first node of each graph."""
        return np.cumsum(self.num_nodes) - self.num_nodes

    @cached_property
    def chains(self) -> Chains:
        r"""The chains of nodes that the graphs consist of."""
        return Chains(self)


class Chains:
    r"""Paths without junctions, of nodes of which each is the only predecessor of its only
    successor. All lengths follow from those between chains, of which computational graphs have a
    third as many as nodes. They are numbered by their first nodes.

    Args:
        graphs (Graphs): The graphs.
    """

    def __init__(self, graphs: Graphs):
        source, target = graphs.edges
        joined = (graphs.out_degrees[source] == 1) & (graphs.in_degrees[target] == 1)
        previous = np.arange(graphs.out_degrees.size)
        previous[target[joined]] = source[joined]
        first, self.position = _roots(previous)
        numbers = np.cumsum(first == np.arange(first.size)) - 1
        self.chain = numbers[first]  # of each node
        self.length = np.bincount(self.chain)
        self.starts = numbers[graphs.starts]  # of the graphs
        self.counts = np.diff(np.append(self.starts, self.length.size))
        # From the last node of a chain to the first one of another, sorted as those of the nodes
        self.edges = self.chain[graphs.edges[:, ~joined]]


def input_distances(graphs: Graphs) -> np.ndarray:
    r"""Length of the shortest path from its graph's first node to each node, 0 where none is."""
    chains, far = graphs.chains, graphs.out_degrees.size
    distances, length = np.full(chains.length.size, far), chains.length.tolist()
    distances[chains.starts] = 0
    distances = distances.tolist()
    for before, after in zip(*chains.edges.tolist(), strict=True):
        distance = distances[before] + length[before]
        if distance < distances[after]:  # faster than min()
            distances[after] = distance
    distances = np.array(distances)[chains.chain] + chains.position
    return distances * (distances < far)


def path_lengths(graphs: Graphs, cutoff: int) -> np.ndarray:
    r"""Lengths of the shortest paths between all nodes of each graph, the matrices one after the
    other. 0 stands for no path and for those longer than :obj:`cutoff`."""
    chains, cutoff = graphs.chains, min(cutoff, MAX_NODES)
    between, row = _between_chains(chains)
    position = chains.position.astype(np.int16)
    before = -1 - position[:, None]
    lengths = np.empty(int((graphs.num_nodes**2).sum()), np.int16)
    begin, ranges = 0, (graphs.starts, graphs.num_nodes, chains.starts, chains.counts)
    for start, size, first, count in zip(*(part.tolist() for part in ranges), strict=True):
        nodes, chain = slice(start, start + size), chains.chain[start : start + size] - first
        to_nodes = between.take(row[first : first + count], 0).take(chain, 1)
        to_nodes += position[nodes]
        matrix = lengths[begin : begin + size * size].reshape(size, size)
        np.take(to_nodes, chain, 0, out=matrix, mode="clip")  # "raise" would buffer
        matrix += before[nodes]
        # A path from a node to an earlier one of its chain has come out negative.
        matrix *= matrix.view(np.uint16) <= cutoff
        begin += size * size
    return lengths


def _roots(previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first node of each node's chain, and how many nodes there are before it, by doubling."""
    position = (previous != np.arange(previous.size)).astype(np.int64)
    while True:
        before = previous[previous]
        if (before == previous).all():
            return previous, position
        position += position[previous]
        previous = before


def _between_chains(chains: Chains) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the shortest paths from before the first node of each chain to the first ones of
    all chains of its graph, and the row in which each chain is: a dynamic programme."""
    row, steps = _schedule(chains)
    between = np.full((row.size, chains.counts.max()), _FAR)
    column = np.arange(row.size) - np.repeat(chains.starts, chains.counts)
    flat, itself, length = between.reshape(-1), np.empty_like(row), np.empty_like(row, np.int16)
    itself[row], length[row] = row * between.shape[1] + column, chains.length
    flat[itself] = 1
    for rows, nearest, *others in steps:
        block = between[rows]
        np.take(between, nearest, 0, out=block, mode="clip")
        for successors in others:
            some = block[: successors.size]
            np.minimum(some, between.take(successors, 0), out=some)
        block += length[rows, None]
        flat[itself[rows]] = 1
    return between, row


def _schedule(chains: Chains) -> tuple[np.ndarray, list[tuple]]:
    """A row for each chain such that every step of a dynamic programme works on slices: chains of
    one height, those with most successors first. For each step the slice, and the rows of the
    first, second, ... successors of the chains in it that have so many."""
    source, target = chains.edges
    height, degree = _heights(chains), np.bincount(source, minlength=chains.length.size)
    order = np.argsort(height * (source.size + 1) - degree)
    row = np.empty_like(order)
    row[order] = np.arange(order.size)
    begins = np.flatnonzero(np.diff(source, prepend=-1))
    rank = np.arange(source.size) - np.repeat(begins, degree[source[begins]])
    part = height[source] * source.size + rank
    by_part = np.argsort(part * row.size + row[source])
    begins = np.flatnonzero(np.diff(part[by_part], prepend=-1))
    firsts, ranks = row[source[by_part[begins]]].tolist(), rank[by_part[begins]].tolist()
    successors, begins = row[target[by_part]], [*begins.tolist(), source.size]
    steps: list[list] = []
    for first, which, begin, end in zip(firsts, ranks, begins, begins[1:], strict=False):
        if which == 0:
            steps.append([slice(first, first + end - begin)])
        steps[-1].append(successors[begin:end])
    return row, steps


def _heights(chains: Chains) -> np.ndarray:
    """The length, in chains, of the longest path from each chain."""
    heights = [0] * chains.length.size
    for before, after in zip(*chains.edges[:, ::-1].tolist(), strict=True):
        if heights[before] <= heights[after]:
            heights[before] = heights[after] + 1
    return np.array(heights)
