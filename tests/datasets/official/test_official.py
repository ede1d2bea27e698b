"""Networks of official files are those that were written, whatever the file's spelling."""

import gzip
import json

import h5py
import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.architectures import SPLITS, count_parameters, network_from_args, split_net_args
from pyg_ghn.datasets.official import OfficialSplit, read_official
from pyg_ghn.errors import DatasetError
from pyg_ghn.graph import PRIMITIVES
from pyg_ghn.transforms import AddShortestPathEncoding

NUM_NETWORKS = {"deep": 2, "dense": 2}


def ops_of(record):
    return [PRIMITIVES[op] for op in record.ops]


def edges_of(record):
    return list(map(tuple, record.edges.T.tolist()))


def test_golden_files(golden_folder):
    paths = [golden_folder / f"deepnets1m_train{end}" for end in (".hdf5", "_meta.json")]
    with gzip.open(golden_folder / "expected.json.gz") as file:
        expected = json.load(file)
    for record, net in zip(read_official(*paths, "train"), expected, strict=True):
        names = record.param_names
        nodes = [[op, name or None] for op, name in zip(ops_of(record), names, strict=True)]
        assert nodes == net["nodes"]
        assert record.edges.T.tolist() == net["edges"]
        assert (record.ops.dtype, record.edges.dtype) == (np.uint8, np.uint16)

        edge_index = torch.from_numpy(record.edges.astype(np.int64))
        data = Data(edge_index=edge_index, num_nodes=len(record.ops))
        spd = AddShortestPathEncoding(cutoff=50)(data).spd
        longer = spd[spd > 1]
        assert {"n_gt1": longer.numel(), "sum_gt1": int(longer.sum())} == net["spd"]

        width = {"C": 32, "fc_dim": 64}
        assert count_parameters(record.net_args, **width) == net["num_params_cifar10"]
        large = count_parameters(record.net_args, 1000, (3, 224, 224), **width)
        assert large == net["num_params_imagenet"]

        network = network_from_args(record.net_args, device="meta")
        parameters = dict(network.named_parameters())
        rest = set(parameters) - set(record.param_names) - set(net["params_without_node"])
        assert all(is_norm_bias(name, parameters) for name in rest)
        assert set(net["params_without_node"]) <= set(network.unused_parameters())


def is_norm_bias(name, parameters):
    return name.endswith(".bias") and parameters[f"{name[:-5]}.weight"].dim() == 1


@pytest.fixture(scope="module")
def sampled(graph_of):
    """A few networks of every split, as (arguments, graph)."""
    nets = {split: split_net_args(split, NUM_NETWORKS.get(split, 4), seed=5) for split in SPLITS}
    return {split: [(args, graph_of(args)) for args in nets] for split, nets in nets.items()}


@pytest.mark.parametrize("old", [False, True])
def test_round_trip_of_every_split(sampled, write_official, tmp_path, old):
    paths = write_official(tmp_path, "eval", sampled, old=old)
    for split, nets in sampled.items():
        records = OfficialSplit(*paths, split)
        assert len(records) == len(nets)
        for record, (net_args, graph) in zip(records, nets, strict=True):
            assert record.net_args == {**net_args, "num_nodes": len(graph.ops)}
            assert ops_of(record) == graph.ops
            assert record.param_names == graph.names
            assert edges_of(record) == graph.edges


def test_other_forms_of_arguments(sampled, graph_of, write_official, tmp_path):
    nets = []
    for net_args, _ in sampled["test"]:
        args = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in net_args.items()
            if name != "fc_dim"
        }
        for changes in ({"norm": None}, {"norm": "bn-track", "C": 48, "imagenet_stride": 2}):
            nets.append((args | changes, graph_of(args | changes)))
    paths = write_official(tmp_path, "eval", {"test": nets})
    for record, (net_args, graph) in zip(read_official(*paths, "test"), nets, strict=True):
        assert record.net_args.items() >= net_args.items()
        assert record.param_names == graph.names and edges_of(record) == graph.edges


def test_nodes_in_any_order(sampled, write_official, tmp_path):
    rng, (net_args, graph) = np.random.default_rng(0), sampled["val"][0]
    order = rng.permutation(len(graph.ops)).tolist()
    place = np.argsort(order).tolist()
    shuffled = graph._replace(
        edges=sorted((place[source], place[target]) for source, target in graph.edges),
        **{key: [getattr(graph, key)[i] for i in order] for key in ("ops", "names", "shapes")},
    )
    paths = write_official(tmp_path, "eval", {"val": [(net_args, shuffled)]})
    (record,) = read_official(*paths, "val")
    assert record.ops[0] == PRIMITIVES.index("input")
    assert (record.edges[0] < record.edges[1]).all()
    assert edges_of(record) == sorted(edges_of(record))
    graphs = [
        as_networkx(ops_of(record), record.param_names, edges_of(record)),
        as_networkx(graph.ops, graph.names, graph.edges),
    ]
    assert nx.is_isomorphic(*graphs, node_match=lambda a, b: a["label"] == b["label"])
    again = next(read_official(*paths, "val"))
    assert again.param_names == record.param_names


def as_networkx(ops, names, edges):
    graph = nx.DiGraph(edges)
    nx.set_node_attributes(graph, dict(enumerate(zip(ops, names, strict=True))), "label")
    return graph


# -- damaged files --------------------------------------------------------------------------------


@pytest.fixture
def files(sampled, write_official, tmp_path):
    return write_official(tmp_path, "eval", {"test": sampled["test"], "val": sampled["val"]})


def edit_meta(path, edit):
    meta = json.loads(path.read_text())
    edit(meta["test"])
    path.write_text(json.dumps(meta))


def edit_graph(path, edit):
    with h5py.File(path, "a") as file:
        edit(file["test"])


def replace(key, change):
    """Changes an array of network 1."""

    def edit(group):
        array = change(group[f"1/{key}"][()])
        del group[f"1/{key}"]
        group[f"1/{key}"] = array

    return edit


def put(row, column, value):
    def change(array):
        array[row, column] = value
        return array

    return change


def set_net(**changes):
    return lambda meta: meta["nets"][1].update(changes)


def cut_off(meta):
    genotype = meta["nets"][1]["genotype"]
    genotype["normal"] = [["none", state] for _, state in genotype["normal"]]
    genotype["reduce"] = [["none", state] for _, state in genotype["reduce"]]


def swap_nets(meta):
    one, other = meta["nets"][1:3]
    one["num_nodes"], other["num_nodes"] = other["num_nodes"], one["num_nodes"]
    meta["nets"][1:3] = other, one


BAD_NETS = {
    "other number of nodes": set_net(num_nodes=7),
    "no dictionary": lambda meta: meta["nets"].__setitem__(1, 5),
    "unknown argument": set_net(droppath=0.1),
    "unknown operation": set_net(genotype={"normal": [["conv_9x9", 0]]}),
    "wrong type": set_net(n_cells="many"),
    "no numbers of parameters": lambda meta: meta["nets"][1].pop("num_params"),
    "other numbers of parameters": set_net(num_params={"cifar10": 9}),
    "no output": cut_off,
    "other network": swap_nets,
    "unknown primitive": lambda meta: meta["meta"]["primitives_ext"].update(
        {"1": "conv_transpose"}
    ),
}
MESSAGES = {
    "other number of nodes": "nodes, but its arguments say 7",
    "no dictionary": "arguments are no dictionary but 5",
    "unknown argument": "'droppath'",
    "unknown operation": "keys|conv_9x9",
    "wrong type": "str",
    "no numbers of parameters": "'num_params' must be .* got None",
    "other numbers of parameters": "'num_params' must be .* got {'cifar10': 9}",
    "no output": "'none' cuts every path",
    "other network": "no parameter '.*do not belong together",
    "unknown primitive": "primitive 'conv_transpose' is unknown; known are max_pool",
}


@pytest.mark.parametrize("case", BAD_NETS)
def test_bad_arguments(files, case):
    edit_meta(files[1], BAD_NETS[case])
    network = 0 if case == "unknown primitive" else 1
    where = rf"Network {network} of the split 'test' in .*deepnets1m_eval\.hdf5 and .*meta\.json: "
    with pytest.raises(DatasetError, match=f"{where}.*({MESSAGES[case]})"):
        list(read_official(*files, "test"))
    assert len(list(read_official(*files, "val"))) == 4


BAD_GRAPHS = {
    "unknown name id": (replace("nodes", put(3, 2, 999)), "id 999 is not among .*unique_op_names"),
    "unknown primitive id": (replace("nodes", put(3, 0, 99)), "id 99 .*primitives_ext"),
    "other cell": (replace("nodes", put(-8, 1, 77)), "no parameter 'cells.77"),
    "columns missing": (
        replace("nodes", lambda nodes: nodes[:, :2]),
        r"'nodes' must be .*\[N, 3\]",
    ),
    "no numbers": (replace("nodes", lambda nodes: nodes / 2), "'nodes' must be whole numbers"),
    "no nodes": (replace("nodes", lambda nodes: nodes[:0]), "'nodes' must be"),
    "not square": (replace("adj", lambda adj: adj[:-1]), "'adj' of shape .* does not fit"),
    "circle": (replace("adj", put(-1, 5, 1)), "data flows in a circle through"),
    "loop": (replace("adj", put(5, 5, 1)), "data flows in a circle"),
    "into the input": (replace("adj", put(5, 0, 1)), "node 0, the input, has an incoming edge"),
    "no input": (
        replace("nodes", lambda nodes: np.delete(nodes, 0, 0)),
        "nodes, but its arguments",
    ),
    "twice": (replace("nodes", lambda nodes: nodes[[0, 1, 1, *range(3, len(nodes))]]), "several"),
    "group missing": (lambda test: test.move("1", "x"), "object '1' doesn't exist"),
    "array missing": (lambda test: test.__delitem__("1/adj"), "object 'adj' doesn't exist"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graphs(files, case):
    edit, message = BAD_GRAPHS[case]
    edit_graph(files[0], edit)
    networks = read_official(*files, "test")
    next(networks)
    where = r"Network 1 of the split 'test' in .*deepnets1m_eval\.hdf5 and .*meta\.json: "
    with pytest.raises(DatasetError, match=f"{where}.*{message}"):
        next(networks)


def test_files_of_different_length(files):
    edit_graph(files[0], lambda test: test.__delitem__("3"))
    with pytest.raises(DatasetError, match=r"\.hdf5 has 3 networks in the split 'test', but .* 4"):
        OfficialSplit(*files, "test")


def test_unknown_split(files):
    with pytest.raises(
        DatasetError, match=r"meta\.json is damaged: .*'deep' but \['test', 'val'\]"
    ):
        OfficialSplit(*files, "deep")
    with h5py.File(files[0], "a") as file:
        del file["val"]
    with pytest.raises(DatasetError, match=r"eval\.hdf5 has no split 'val' but \['test'\]"):
        OfficialSplit(*files, "val")


@pytest.mark.parametrize("which", [0, 1])
def test_missing_file(files, which):
    files[which].unlink()
    with pytest.raises(DatasetError, match=f"{files[which].name} is missing"):
        OfficialSplit(*files, "test")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("which", [0, 1])
def test_truncated_file(files, which, share):
    size = files[which].stat().st_size
    with files[which].open("rb+") as file:
        file.truncate(int(share * size))
    with pytest.raises(DatasetError, match=rf"{files[which].name} is damaged"):
        OfficialSplit(*files, "test")


def test_overwritten_hdf5(files):
    content = bytearray(files[0].read_bytes())
    content[200:] = bytes(len(content) - 200)
    files[0].write_bytes(content)
    with pytest.raises(DatasetError, match=r"deepnets1m_eval\.hdf5"):
        OfficialSplit(*files, "test")
