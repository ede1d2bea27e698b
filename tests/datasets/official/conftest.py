"""A writer of files in the official format, and a local server that stands for their site."""

import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pyg_ghn.architectures import network_from_args
from pyg_ghn.datasets import official_files
from pyg_ghn.datasets.download import RemoteFile
from pyg_ghn.datasets.official_files import FILES, META_ARCHIVE, SPLIT_FILES
from pyg_ghn.graph import PRIMITIVES, from_module
from pyg_ghn.transforms import AddShortestPathEncoding

LONGEST_PATH = 250


class Graph(NamedTuple):
    """A network's graph: "" for no name, None for no shape."""

    ops: list
    edges: list
    names: list
    shapes: list


@pytest.fixture(scope="session")
def graph_of():
    def graph_of(net_args):
        data = from_module(network_from_args(net_args, device="meta"))
        ops = [PRIMITIVES[op] for op in data.x.flatten().tolist()]
        edges = sorted(map(tuple, data.edge_index.t().tolist()))
        return Graph(ops, edges, [name or "" for name in data.param_name], data.param_shape)

    return graph_of


@pytest.fixture(scope="session")
def write_official():
    def write_official(folder, part, splits, old=False):
        """Writes ``deepnets1m_{part}.hdf5`` and its meta file, returns their paths. A split is a
        list of (arguments, graph). ``old`` is the spelling of older files."""
        paths = folder / f"deepnets1m_{part}.hdf5", folder / f"deepnets1m_{part}_meta.json"
        with h5py.File(paths[0], "w") as file:
            meta = {split: write_split(file, split, nets, old) for split, nets in splits.items()}
        paths[1].write_text(json.dumps(meta))
        return paths

    return write_official


def write_split(file, split, nets, old):
    primitives, names, described = Ids(), Ids(), []
    for i, (net_args, graph) in enumerate(nets):
        nodes = [
            (primitives[spell_op(op, shape)], cell_of(name), names[spell(op, name, old)])
            for op, name, shape in zip(graph.ops, graph.names, graph.shapes, strict=True)
        ]
        file[f"{split}/{i}/adj"] = path_lengths(graph).astype(np.uint8)
        file[f"{split}/{i}/nodes"] = np.array(nodes, np.uint16)
        described.append({**net_args, "num_nodes": len(nodes)})
    tables = {"primitives_ext": primitives.table, "unique_op_names": names.table}
    return {"nets": described, "meta": tables}


class Ids(dict):
    """Numbers by name, in the order of their appearance."""

    def __missing__(self, name):
        self[name] = len(self)
        return self[name]

    @property
    def table(self):
        return {str(number): name for name, number in self.items()}


def path_lengths(graph):
    n, edges = len(graph.ops), torch.tensor(graph.edges).t()
    data = AddShortestPathEncoding(LONGEST_PATH)(Data(edge_index=edges, num_nodes=n))
    return data.spd.view(n, n).numpy()


def cell_of(name):
    found = re.match(r"cells\.(\d+)\.", name)
    return int(found[1]) if found else 0


def spell_op(op, shape):
    """The primitive with its kernel; biases of linear layers are fc-b."""
    if op == "bias":
        return "fc-b"
    if op.endswith(("conv", "pool")):
        height, width = shape[2:] if len(shape) == 4 else (1, 1)
        return f"{op}_{height}x{width}"
    return op


def spell(op, name, old):
    """The parameter's name as in new or old files."""
    if not name:
        return "" if op == "input" and old else op
    name = re.sub(r"^cells\.\d+\.", "", name).replace(".attn.", ".")
    if old:
        name = re.sub(r"(_ops\.\d+)\.op\.", r"\1.", name)
        name = name.replace("to_out.0.weight", "to_out.0.")
    return name


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``. ``server.faults`` says for each coming request how it goes wrong:
    ``"cut"`` (half of the body, then the connection is closed), ``"no range"``, a status."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        assert len(server.requests) < 20
        fault = server.faults.pop(0) if server.faults else None
        body = server.files.get(self.path.rpartition("/")[2])
        if isinstance(fault, int) or body is None:
            return self.send_error(fault or 404)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and fault != "no range":
            start = int(wanted[1])
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """The server, with its address as ``url``."""
    monkeypatch.setattr("pyg_ghn.datasets.download.PAUSE", 0)
    monkeypatch.setattr("pyg_ghn.datasets.download.TIMEOUT", 5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.files, server.faults, server.requests = {}, [], []
        server.url = f"http://127.0.0.1:{server.server_address[1]}/deepnets1m/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def official_site(site, golden_folder, monkeypatch):
    """The golden networks as the site's train split, beside which there are no others."""
    names = SPLIT_FILES["train"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(golden_folder / names.meta, names.meta)
    site.files[META_ARCHIVE] = archive.getvalue()
    site.files[names.hdf5] = (golden_folder / names.hdf5).read_bytes()
    files = {
        name: RemoteFile(name, len(body), hashlib.md5(body).hexdigest())
        for name, body in site.files.items()
    }
    monkeypatch.setattr(official_files, "FILES", FILES | files)
    return site
