import json
import pickle
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from pyg_ghn import checkpoint
from pyg_ghn.checkpoint import from_pretrained, read_metadata, save_pretrained
from pyg_ghn.errors import CheckpointError
from pyg_ghn.nn import GHN3

TINY = Path(__file__).parent / "golden" / "predictions" / "ghn3_tiny.pt"
TABLES = ("centrality_embed_in", "centrality_embed_out", "input_dist_embed")


@pytest.fixture
def ghn():
    return GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10)


@pytest.fixture
def saved(ghn, tmp_path):
    return save_pretrained(ghn, tmp_path / "ghn.safetensors")


@pytest.fixture
def training():
    """Content of a training checkpoint."""
    return torch.load(TINY, weights_only=True)


def equal(ghn, other):
    state, others = ghn.state_dict(), other.state_dict()
    return state.keys() == others.keys() and all(torch.equal(state[k], others[k]) for k in state)


def write(content, tmp_path):
    torch.save(content, tmp_path / "ghn.pt")
    return tmp_path / "ghn.pt"


class TestOwnFormat:
    @pytest.mark.parametrize("name", ["a/b/ghn.safetensors", "a/b"])
    def test_round_trip(self, ghn, tmp_path, name):
        path = save_pretrained(ghn, tmp_path / name)
        loaded = from_pretrained(tmp_path / name)
        assert path.is_file() and path.suffix == ".safetensors"
        assert loaded.config == ghn.config and equal(loaded, ghn)
        assert all(p.requires_grad for p in loaded.parameters())
        assert list(path.parent.iterdir()) == [path]

    def test_without_layer_norm(self, tmp_path):
        ghn = GHN3(16, 1, 4, (8, 8, 7, 7), num_classes=10, layer_norm=False)
        assert equal(from_pretrained(save_pretrained(ghn, tmp_path)), ghn)

    def test_metadata(self, ghn, tmp_path):
        metadata = {"training": json.dumps({"steps": 3}), "version": "0.1", "odd": "{"}
        path = save_pretrained(ghn, tmp_path, metadata)
        read = read_metadata(path)
        assert read["training"] == {"steps": 3}
        assert read["version"] == "0.1" and read["odd"] == "{"
        assert read["config"] == {"class": "GHN3", **ghn.config}

    def test_other_files_have_no_metadata(self):
        assert read_metadata(TINY) == {}

    def test_failed_write_leaves_the_old_file(self, ghn, saved, monkeypatch):
        def fail(state, path, metadata):
            path.write_text("half")
            raise OSError("disk full")

        before = saved.read_bytes()
        monkeypatch.setattr(checkpoint, "save_file", fail)
        with pytest.raises(OSError, match="disk full"):
            save_pretrained(ghn, saved)
        assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]

    @pytest.mark.parametrize("size", [20, 200, -5])
    def test_truncated(self, saved, size):
        saved.write_bytes(saved.read_bytes()[:size])
        with pytest.raises(CheckpointError, match=r"ghn.safetensors' is damaged or incomplete"):
            from_pretrained(saved)

    def test_missing_key(self, ghn, saved):
        self.rewrite(saved, ghn, lambda state: state.pop("norm.weight"))
        with pytest.raises(CheckpointError, match=r"lacks the key 'norm.weight' of shape \(16,\)"):
            from_pretrained(saved)

    def test_unexpected_key(self, ghn, saved):
        self.rewrite(saved, ghn, lambda state: state.update(extra=torch.ones(1)))
        with pytest.raises(CheckpointError, match="unexpected keys: extra"):
            from_pretrained(saved)

    def test_key_of_another_shape(self, ghn, saved):
        self.rewrite(saved, ghn, lambda state: state.update({"norm.weight": torch.ones(7)}))
        with pytest.raises(
            CheckpointError, match=r"'norm.weight' .* has shape \(7,\), expected \(16,\)"
        ):
            from_pretrained(saved)

    @pytest.mark.parametrize(
        "config, message",
        [
            (None, "has no `config`"),
            ("{", "is no JSON object"),
            ("[1]", "is no JSON object"),
            ('{"depth": 3}', "makes no GHN3"),
            ('{"heads": 3}', "makes no GHN3"),
            ('{"class": "GHN9"}', "holds none of GHN3"),
        ],
    )
    def test_bad_config(self, saved, config, message):
        save_file(load_file(saved), saved, None if config is None else {"config": config})
        with pytest.raises(CheckpointError, match=message):
            from_pretrained(saved)

    def test_config_beside_the_weights(self, ghn, saved):
        save_file(load_file(saved), saved)
        saved.with_name("config.json").write_text(json.dumps(ghn.config))
        assert equal(from_pretrained(saved), ghn)

    @staticmethod
    def rewrite(path, ghn, change):
        state = load_file(path)
        change(state)
        save_file(state, path, {"config": json.dumps(ghn.config)})


class TestTrainingFormat:
    def test_sizes(self):
        ghn = from_pretrained(TINY)
        assert ghn.config == {
            "hidden_channels": 16,
            "num_layers": 2,
            "heads": 8,
            "max_shape": [16, 16, 16, 16],
            "num_classes": 10,
            "layer_norm": True,
        }
        assert sum(p.numel() for p in ghn.parameters()) == 354_184

    def test_node_tables_at_top_level(self, training, tmp_path):
        state = training["state_dict"]
        for table in TABLES:
            state[f"{table}.weight"] = state.pop(f"gnn.0.{table}.weight")
        assert equal(from_pretrained(write(training, tmp_path)), from_pretrained(TINY))

    @pytest.mark.parametrize("config", [{}, None, {"num_classes": 10}])
    def test_sizes_are_read_off_the_tensors(self, training, tmp_path, config):
        training["config"] = config
        loaded, expected = from_pretrained(write(training, tmp_path)), from_pretrained(TINY)
        assert loaded.config == expected.config and equal(loaded, expected)

    def test_without_final_norm(self, training, tmp_path):
        del training["state_dict"]["ln.weight"], training["state_dict"]["ln.bias"]
        loaded = from_pretrained(write(training, tmp_path))
        assert loaded.config["layer_norm"] is False

    def test_more_than_9_layers(self, training, tmp_path):
        state = training["state_dict"]
        layers = {k: v for k, v in state.items() if k.startswith("gnn.1.")}
        for number in range(2, 12):
            for name, value in layers.items():
                state[name.replace("gnn.1.", f"gnn.{number}.")] = value + number
        training["config"] = {}
        loaded = from_pretrained(write(training, tmp_path))
        assert len(loaded.convs) == 12
        assert torch.equal(loaded.convs[11].qkv.weight, loaded.convs[1].qkv.weight + 11)

    def test_optimizer_and_step_are_ignored(self, training, tmp_path):
        training |= {"optimizer": {"state": {}, "lr": 0.1}, "epoch": 3}
        assert equal(from_pretrained(write(training, tmp_path)), from_pretrained(TINY))

    def test_written_by_our_training(self, ghn, tmp_path):
        content = {"state_dict": ghn.state_dict(), "config": ghn.config, "steps_done": 7}
        assert equal(from_pretrained(write(content, tmp_path)), ghn)

    def test_missing_key_has_the_name_in_the_file(self, training, tmp_path):
        del training["state_dict"]["gnn.1.ff.net.3.bias"]
        with pytest.raises(CheckpointError, match=r"lacks the key 'gnn.1.ff.net.3.bias'"):
            from_pretrained(write(training, tmp_path))

    @pytest.mark.parametrize("name", ["embed.weight", "decoder.fc.0.weight"])
    def test_missing_key_that_tells_a_size(self, training, tmp_path, name):
        del training["state_dict"][name]
        with pytest.raises(CheckpointError, match=f"lacks the key '{name}'"):
            from_pretrained(write(training, tmp_path))

    def test_key_of_other_dimensions(self, training, tmp_path):
        training["state_dict"]["embed.weight"] = torch.ones(3)
        with pytest.raises(CheckpointError, match=r"'embed.weight' .* \(3,\): no matrix"):
            from_pretrained(write(training, tmp_path))

    def test_config_that_contradicts_the_tensors(self, training, tmp_path):
        training["config"]["num_classes"] = 1000
        with pytest.raises(CheckpointError, match=r"has shape \(10, 16\), expected \(1000, 16\)"):
            from_pretrained(write(training, tmp_path))

    def test_unexpected_key(self, training, tmp_path):
        training["state_dict"]["gnn.0.attn.extra"] = torch.ones(1)
        with pytest.raises(CheckpointError, match=r"unexpected keys: gnn.0.attn.extra"):
            from_pretrained(write(training, tmp_path))

    @pytest.mark.parametrize("name", ["weight_norm", "ve"])
    def test_ablations(self, training, tmp_path, name):
        training["config"][name] = False
        with pytest.raises(CheckpointError, match=f"{name}=False"):
            from_pretrained(write(training, tmp_path))

    @pytest.mark.parametrize(
        "content",
        [
            {"state_dict": {"gnn.gru.weight_ih": torch.ones(1)}, "config": {}},
            {"state_dict": {}, "config": {"is_ghn2": True}},
            {"state_dict": {}, "config": {"hypernet": "gatedgnn"}},
        ],
    )
    def test_ghn2(self, content, tmp_path):
        with pytest.raises(CheckpointError, match="GHN-2, which is not supported by this version"):
            from_pretrained(write(content, tmp_path))

    @pytest.mark.parametrize("content", [[1], {"config": {}}, {"state_dict": {"a": 1}}])
    def test_other_contents(self, content, tmp_path):
        with pytest.raises(CheckpointError, match="no dictionary with a `state_dict`"):
            from_pretrained(write(content, tmp_path))

    def test_truncated(self, tmp_path):
        (tmp_path / "ghn.pt").write_bytes(TINY.read_bytes()[:100_000])
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            from_pretrained(tmp_path / "ghn.pt")


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestNoCodeIsRun:
    def test_torch_file(self, training, tmp_path):
        training["config"]["args"] = Malicious(tmp_path / "harm")
        with pytest.raises(CheckpointError, match="more than tensors and plain values"):
            from_pretrained(write(training, tmp_path))
        assert not (tmp_path / "harm").exists()

    @pytest.mark.parametrize("protocol", [2, 4])
    def test_bare_pickle(self, tmp_path, protocol):
        path = tmp_path / "ghn.pt"
        path.write_bytes(pickle.dumps(Malicious(tmp_path / "harm"), protocol=protocol))
        with pytest.raises(CheckpointError, match="bare pickle"):
            from_pretrained(path)
        assert not (tmp_path / "harm").exists()


class TestNames:
    @pytest.fixture(autouse=True)
    def packaged(self, monkeypatch, tmp_path):
        monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path / "pretrained")

    def test_packaged(self, ghn, tmp_path):
        save_pretrained(ghn, tmp_path / "pretrained" / "ghn3-tiny", {"note": "x"})
        assert equal(from_pretrained("ghn3-tiny"), ghn)
        assert read_metadata("ghn3-tiny")["note"] == "x"

    def test_unknown(self, ghn, tmp_path):
        for name in ("ghn3-b", "ghn3-a"):
            save_pretrained(ghn, tmp_path / "pretrained" / name)
        with pytest.raises(CheckpointError, match=r"'ghn4' is no file.*: ghn3-a, ghn3-b\."):
            from_pretrained("ghn4")

    def test_empty_directory(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
            from_pretrained(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello, world", b"PK"])
    def test_other_file(self, content, tmp_path):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is no checkpoint|damaged"):
            from_pretrained(tmp_path / "file")

    def test_hub(self, ghn, tmp_path, monkeypatch):
        save_pretrained(ghn, tmp_path / "hub")
        asked = []

        def download(repo, file):
            asked.append((repo, file))
            if file == "config.json":
                raise EntryNotFoundError("no config.json")
            return str(tmp_path / "hub" / file)

        monkeypatch.setattr(checkpoint, "hf_hub_download", download)
        assert equal(from_pretrained("owner/ghn"), ghn)
        assert asked == [("owner/ghn", "model.safetensors"), ("owner/ghn", "config.json")]

    def test_hub_without_the_file(self, monkeypatch):
        def download(repo, file):
            raise LocalEntryNotFoundError("no connection")

        monkeypatch.setattr(checkpoint, "hf_hub_download", download)
        with pytest.raises(CheckpointError, match=r"'owner/ghn' is no file.*no connection"):
            from_pretrained("owner/ghn")

    def test_a_missing_file_is_not_looked_for_on_the_hub(self, monkeypatch):
        monkeypatch.setattr(checkpoint, "hf_hub_download", None)
        with pytest.raises(CheckpointError, match=r"'runs/ghn\.pt' is no file"):
            from_pretrained("runs/ghn.pt")
