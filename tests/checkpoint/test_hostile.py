"""Files made to run code, to use up the machine or to confuse. Each ends in one clear error."""

import bz2
import copyreg
import gzip
import io
import lzma
import pickle
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict

import pytest
import torch
from torch import nn

from pyg_ghn.checkpoint import pickles

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
# A storage of two floats, as it is described in a pickle.
DESCRIPTION = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\2NtQ"
FLOATS = struct.pack("<q2f", 2, 1, 2)
KEYS = pickle.dumps(["0"], 2)
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return exec, (f"open({self.path!r}, 'w')",)


@pytest.fixture
def harm(tmp_path):
    """A path that appears when code is run."""
    path = tmp_path / "harm"
    yield path
    assert not path.exists()


def torch_file(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def legacy(*, magic=MAGIC, protocol=PROTOCOL, system=SYSTEM, content=b"\x80\2" + DESCRIPTION + b".",
           keys=KEYS, data=FLOATS):  # fmt: skip
    """A storage as joblib embeds it."""
    head = b"".join(pickle.dumps(part, 2) for part in (magic, protocol, system))
    return head + content + keys + data


def embedded(data):
    """A pickle that loads bytes as a storage."""
    return b"\x80\4ctorch.storage\n_load_from_bytes\n" + pickle.dumps(data, 4)[2:-1] + b"\x85R."


def tensor(offset=0, shape=(2,), stride=(1,), storage=None):
    """A pickle of {"a": tensor} whose storage has two floats."""
    storage = storage or embedded(legacy())[2:-1]
    numbers = b"".join(pickle.dumps(value, 4)[2:-1] for value in (offset, shape, stride))
    return (
        b"\x80\4}X\1\0\0\0a" + TENSOR + b"(" + storage + numbers + b"\x89"
        b"ccollections\nOrderedDict\n)RtRs."
    )


def archive(files, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in files.items():
            out.writestr(f"archive/{name}", data)
    return file.getvalue()


def test_the_pieces_are_well_formed(refused):
    """What follows fails for the reason given, not for a slip in these helpers."""
    assert torch.equal(pickle.loads(tensor())["a"], torch.tensor([1.0, 2.0]))
    refused(tensor(), "holds no GHN;")
    refused(archive({"data.pkl": b"\x80\2}."}), "hasRecord")


# Pickles but for their first two bytes. Code:
PICKLES = [
    (b"(S'x'\nios\nsystem\n.", "pickle operation STRING"),
    (b"(X\1\0\0\0xios\nsystem\n.", "pickle operation INST"),
    (b"(cos\nsystem\nX\1\0\0\0xo.", "holds `os.system`"),
    (b"(ccollections\nOrderedDict\no.", "pickle operation OBJ"),
    (b"ccollections\nOrderedDict\n)\x81.", "TypeError in its pickle"),
    (b"ccollections\nOrderedDict\n)}\x92.", "pickle operation NEWOBJ_EX"),
    (b"\x82\1)R.", "pickle operation EXT1"),
    (b"\x83\1\0)R.", "pickle operation EXT2"),
    (b"\x84\1\0\0\0)R.", "pickle operation EXT4"),
    (b"P0\n.", "pickle operation PERSID"),
    (b"K\1Q.", "refers to data outside"),
    (b"\x97.", "pickle operation NEXT_BUFFER"),
    (b"X\2\0\0\0osX\6\0\0\0system\x93.", "holds `os.system`"),
    (b"X\2\0\0\0os\x94X\6\0\0\0system\x940h\0h\1\x93.", "pickle operation POP"),
    (b"K\1K\2\x93.", "UnpicklingError in its pickle"),
    (b"cos\nsystem\n.", "holds `os.system`"),
    (b"ctorch.serialization\nload\n.", "holds `torch.serialization.load`"),
    (b"ctorch\nload\n.", "holds `torch.load`"),
    (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__`, which is neither"),
    (b"ccollections\nOrderedDict.fromkeys\n.", "holds `collections.OrderedDict.fromkeys`"),
    (b"c" + b"x" * 10_000 + b"\ny\n.", r"holds `x{200}`,"),
    # Allowed operations with arguments that nobody writes:
    (b"ctorch\nFloatStorage\nJ\0\0\0\x40\x85R.", "holds `torch.FloatStorage`"),
    (b"ctorch._utils\n_rebuild_parameter\n(K\1\x88)tR.", "no `state_dict`"),
    (b"]}b.", "no `state_dict`"),
    (b"ccollections\nOrderedDict\n}b.", "no `state_dict`"),
    (b"})K\1s.", "keys other than names"),
    (b"}K\1.", "no `state_dict`"),
    (b"}q\0X\1\0\0\0ah\0s.", "no `state_dict`"),  # contains itself
    (b"}q\0X\x0a\0\0\0state_dicth\0s.", "no `state_dict`"),
]
OF_BYTES = b"ctorch.storage\n_load_from_bytes\n"
DAMAGED = [
    *(b"ccollections\nOrderedDict\n(]tR.", b"K\1)R.", TENSOR + b")R.", TENSOR + b"(NK\0)))tR."),
    *(b"ctorch._utils\n_rebuild_parameter\n)R.", OF_BYTES + b")R.", OF_BYTES + b"K\1\x85R."),
    *(b"K\1K\1a.", b"]K\1K\1s.", b"}(K\1u.", b"}u.", b"(\x85\x85t.", b"h\7.", b"\x85.", b"\x94."),
    *(b".", b"}", b"", b"\xff.", b"X\2\0\0\0\xff\xff."),
    # Claims of length:
    *(b"B\xff\xff\xff\xff.", b"\x8e" + b"\xff" * 8 + b".", b"\x8e" + b"\xff" * 7 + b"\x7f."),
    *(b"X\xff\xff\xff\xff.", b"\x8d" + b"\xff" * 8 + b"."),
]
PICKLES += [(data, "is damaged") for data in DAMAGED]
PICKLES.append((b"c" + b"x" * (1 << 17) + b"\ny\n.", "damaged or incomplete|holds `x{200}`"))


@pytest.mark.parametrize("data, message", PICKLES)
def test_pickles(refused, data, message):
    copyreg.add_extension("os", "system", 1)
    try:
        refused(b"\x80\4" + data, message)
    finally:
        copyreg.remove_extension("os", "system", 1)
        copyreg.clear_extension_cache()


class TestCode:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_pickle(self, harm, refused, protocol):
        data = pickle.dumps({"state_dict": {"a": Harm(harm)}}, protocol)
        pickle.loads(data)
        harm.unlink()  # it was harmful
        refused(data, r"holds `(builtins|__builtin__).exec`, which is neither a tensor nor")

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("place", ["state_dict", "config", "optimizer"])
    def test_torch_file(self, harm, refused, content, zipped, place):
        content = content() | {place: {"a": Harm(harm)}}
        data = torch_file(content, _use_new_zipfile_serialization=zipped)
        refused(data, r"holds `__builtin__.exec`")

    @pytest.mark.parametrize("part", ["magic", "protocol", "system"])
    def test_head_of_an_embedded_storage(self, harm, refused, part):
        refused(embedded(legacy(**{part: Harm(harm)})), "`__builtin__.exec`|not written by torch")

    @pytest.mark.parametrize("part", ["content", "keys"])
    def test_embedded_storage(self, harm, refused, part):
        data = embedded(legacy(**{part: pickle.dumps(Harm(harm), 2)}))
        refused(data, "holds `__builtin__.exec`")

    def test_other_kinds_of_embedded_storages(self, harm, refused):
        inner = embedded(pickle.dumps(Harm(harm)))
        refused(embedded(legacy(content=inner)), "holds `torch.storage._load_from_bytes`")
        for data in (pickle.dumps(Harm(harm)), torch_file(Harm(harm))):
            refused(embedded(data), "bytes were not written by torch.save")

    def test_other_kinds_of_tensors(self, refused):
        for value in (
            torch.ones(2).to_sparse(),
            torch.ones(2, device="meta"),
            torch.ones(2, dtype=torch.uint16),
            torch.ones(2).to(torch.float8_e4m3fn),
            nn.Linear(2, 2),
        ):
            refused(torch_file({"state_dict": {"a": value}}), r"holds `torch\.\S+`, which is nei")


class TestConfusion:
    """Allowed operations with arguments that nobody writes."""

    @pytest.mark.parametrize("attribute", ["values", "keys", "get", "__iter__"])
    @pytest.mark.parametrize("where", ["state_dict", "config"])
    def test_attributes_in_place_of_methods(self, refused, content, attribute, where):
        content = content()
        added = {"state_dict": {"unknown": torch.ones(1)}, "config": {"heads": 5}}
        content[where] = OrderedDict(content[where], **added[where])
        content[where].__dict__[attribute] = 5
        refused(torch_file(content), "unexpected keys: unknown|heads = 5")

    @pytest.mark.parametrize(
        "numbers",
        [
            *({"offset": offset} for offset in (1, -1, 2**200)),
            *({"shape": shape} for shape in ((3,), (-2,), (True, "2"))),
            {"shape": (2**62,), "stride": (0,)},
            {"shape": (1 << 40, 1 << 40), "stride": (0, 0)},
            *({"shape": (2,), "stride": stride} for stride in ((2,), (-1,), (1, 1))),
            {"shape": (0, 2**200), "stride": (1, 1)},
            {"storage": b"N"},
        ],
    )
    def test_tensors_beyond_their_storage(self, refused, numbers):
        refused(tensor(**numbers), "is damaged")

    @pytest.mark.parametrize(
        "parts",
        [
            {"protocol": 1000},
            {"content": pickle.dumps([1], 2)},
            {"content": pickle.dumps([1], 2), "keys": pickle.dumps([], 2)},
            *({"content": b"\x80\2" + DESCRIPTION.replace(*change) + b"."} for change in (
                (b"K\2", b"K\3"), (b"K\2", b"J\xff\xff\xff\xff"), (b"NtQ", b"}tQ"))),
            *({"keys": pickle.dumps(keys, 2)} for keys in ([], [0], ["0", "0"])),
            *({"data": data} for data in (FLOATS[:-1], FLOATS + b"0", b"")),
        ],
    )  # fmt: skip
    def test_embedded_storages(self, refused, parts):
        refused(embedded(legacy(**parts)), "is damaged|that are no storage")

    @pytest.mark.parametrize(
        "files, message",
        [
            ({}, "not one that torch.save wrote"),
            ({"arr_0.npy": b"\x93NUMPY"}, "not one that torch.save wrote"),
            ({"data.pkl": b""}, "damaged or incomplete"),
            ({"data.pkl": b"\x80\2c__torch__\nNet\n."}, "holds `__torch__.Net`"),
            ({"data.pkl": b"\x80\2" + DESCRIPTION[:-3] + b"tQ."}, "damaged"),
            ({"data.pkl": b"\x80\2.", "version": b"3"}, "damaged"),
        ],
    )
    def test_archives(self, refused, files, message):
        refused(archive(files), message)

    def test_archives_with_parts_before_their_start_or_a_damaged_directory(self, refused):
        data = archive({"data.pkl": b"\x80\2}."})
        refused(data[:-6] + b"\xfe\xff\xff\x7f" + data[-2:], "damaged or incomplete")
        data = bytearray(archive({"data.pkl": b"\x80\2}."}))
        data[:4] = b"PK\0\0"
        refused(bytes(data), "is damaged or incomplete")

    @pytest.mark.parametrize("folder", ["archive", "other"])
    def test_archive_with_a_part_twice(self, tmp_path, refused, content, folder):
        """One program reads the first, another one the last."""
        path = tmp_path / "twice.pt"
        path.write_bytes(torch_file(content()))
        with zipfile.ZipFile(path, "a") as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = out.namelist()[0].partition("/")[0]
            out.writestr(f"{first if folder == 'archive' else folder}/data/0", bytes(1 << 10))
        refused(path.read_bytes(), "it has two parts 'data/0'")


class TestExhaustion:
    def test_many_operations(self, refused, monkeypatch):
        monkeypatch.setattr(pickles, "MAX_OPERATIONS", 1000)
        refused(b"\x80\4" + b"N" * 2000 + b".", "takes more than 1,000 operations")
        # Each embedded storage is small, and remembered: loading it again costs three bytes.
        monkeypatch.setattr(pickles, "MAX_OPERATIONS", 1000)
        data = pickle.dumps(legacy(), 4)[2:-1]
        once = b"ctorch.storage\n_load_from_bytes\nq\0" + data + b"\x85q\1"
        refused(b"\x80\4" + once + b"h\0h\1R" * 100 + b".", "uses the same data more than once")

    @pytest.mark.parametrize("call", [b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n"])
    @pytest.mark.parametrize("to", [lambda data: data, lambda data: archive({"data.pkl": data})])
    def test_calls_that_take_forever_to_hash(self, refused, call, to):
        doubled = b")" + b"q\0h\0\x86" * 100
        refused(to(b"\x80\2" + call + b"](" + doubled + b"K\1\x86e\x85R."), "damaged|Counter`")
        refused(b"\x80\4}" + doubled + b"Ns.", "keys other than names and numbers")

    def test_config_that_takes_forever_to_print(self, refused, content):
        bomb = []
        for _ in range(100):
            bomb = [bomb, bomb]
        for key in ("heads", "max_shape", "is_ghn2", "decoder", "class"):
            data = torch_file(content() | {"config": {key: bomb}})
            refused(data, f"`({key})`|names another class")

    def test_many_layers_and_one_storage_for_all_tensors(self, refused, ghn):
        one = torch.ones(1)
        state = {f"gnn.{i}.ln1.weight": one.clone() for i in range(1001)}
        state |= {"embed.weight": torch.ones(15, 8), "decoder.conv.2.weight": torch.ones(1, 1),
                  "decoder.class_layer_predictor.1.weight": torch.ones(1, 1),
                  "decoder.fc.0.weight": torch.ones(1, 1)}  # fmt: skip
        refused(torch_file(state), "has 1001 layers")
        # A file of a few bytes must not become a GHN of any size.
        largest = max(ghn.state_dict().values(), key=torch.numel).flatten().clone()
        state = {n: largest[: t.numel()].view_as(t) for n, t in ghn.state_dict().items()}
        refused(torch_file(state), "describes more numbers than it holds")

    def test_compressed_archives_or_twice(self, refused, content):
        files = {"data.pkl": b"\x80\2" + b"N" * 1_000_000 + b"."}
        refused(archive(files, zipfile.ZIP_DEFLATED), "is a compressed zip file")
        data = gzip.compress(gzip.compress(torch_file(content())))
        refused(data, "is no checkpoint")

    @pytest.mark.parametrize(
        "compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress]
    )
    def test_bombs(self, refused, compress):
        refused(compress(b"\x80\4" + bytes(16 << 20)), "grows to more than 8 times its size")
