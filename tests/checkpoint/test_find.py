import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

import pyg_ghn
from pyg_ghn.checkpoint import RELEASED, find, from_pretrained, read_metadata, save_pretrained
from pyg_ghn.errors import CheckpointError


@pytest.fixture(autouse=True)
def packaged(monkeypatch, tmp_path):
    monkeypatch.setattr(find, "PRETRAINED", tmp_path / "pretrained")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub whose repositories lie in a folder; the files that were asked for."""
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        path = tmp_path / "hub" / repository / file
        if not path.is_file():
            raise EntryNotFoundError(f"no {file}.")
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


@pytest.fixture
def no_network(monkeypatch):
    def download(repository, file):
        raise LocalEntryNotFoundError("no connection.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)


def test_packaged(ghn, tmp_path, equal):
    save_pretrained(ghn, tmp_path / "pretrained" / "ghn3-tiny", {"note": "x"})
    assert equal(from_pretrained("ghn3-tiny"), ghn)
    assert read_metadata("ghn3-tiny")["note"] == "x"


def test_unknown(ghn, tmp_path):
    for name in ("ghn3-b", "ghn3-a"):
        save_pretrained(ghn, tmp_path / "pretrained" / name)
    with pytest.raises(CheckpointError, match=r"'ghn4' is no file.*: ghn3-a, ghn3-b\..*ghn3tm8.pt"):
        from_pretrained("ghn4")


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000], ids=len)
def test_name_that_no_file_can_have(name):
    with pytest.raises(CheckpointError, match=r"cannot be looked up|is no file"):
        from_pretrained(name)


def test_empty_directory(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["owner/ghn", "owner/ghn-v1.5"])
def test_repository(name, ghn, tmp_path, hub, equal):
    (tmp_path / "hub" / name).mkdir(parents=True)  # its suffix makes no file of it
    save_pretrained(ghn, tmp_path / "hub" / name)
    assert equal(from_pretrained(name), ghn)
    assert hub == [(name, "model.safetensors"), (name, "config.json")]


def test_repository_without_config(ghn, tmp_path, hub, equal):
    save_pretrained(ghn, tmp_path / "hub" / "owner" / "ghn")
    (tmp_path / "hub" / "owner" / "ghn" / "config.json").unlink()
    assert equal(from_pretrained("owner/ghn"), ghn)


@pytest.mark.parametrize("name", RELEASED)
def test_released(ghn, tmp_path, hub, equal, name):
    path = tmp_path / "hub" / "SamsungSAILMontreal" / "ghn3" / name
    path.parent.mkdir(parents=True)
    torch.save(ghn.state_dict(), path)
    assert equal(pyg_ghn.from_pretrained(name), ghn)
    assert hub == [("SamsungSAILMontreal/ghn3", name)]


def test_a_released_file_in_the_folder_comes_first(ghn, tmp_path, monkeypatch, hub, equal):
    monkeypatch.chdir(tmp_path)
    torch.save(ghn.state_dict(), "ghn3tm8.pt")
    assert equal(from_pretrained("ghn3tm8.pt"), ghn) and not hub


@pytest.mark.parametrize("name", ["owner/ghn", "ghn3tm8.pt"])
def test_no_network(no_network, name):
    with pytest.raises(CheckpointError, match=r"cannot be down.*no connection. .*give its path"):
        from_pretrained(name)


def test_any_error_of_the_connection(monkeypatch):
    class ReadTimeoutOfSomeLibrary(Exception):
        pass

    def download(repository, file):
        raise ReadTimeoutOfSomeLibrary("timed out")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match="timed out"):
        from_pretrained("owner/ghn")


def test_a_missing_file_is_not_looked_for_on_the_hub(hub):
    with pytest.raises(CheckpointError, match=r"'runs/ghn\.pt' is no file"):
        from_pretrained("runs/ghn.pt")
    assert not hub


def test_nor_is_what_is_missing_in_a_folder(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError, match="'runs/mine' is no file"):
        from_pretrained("runs/mine")
    assert not hub


class TestPush:
    @pytest.fixture
    def api(self, monkeypatch, tmp_path):
        class Api:
            def __init__(self, token=None):
                self.token = token

            def create_repo(self, name, private=None, exist_ok=False):
                assert exist_ok
                if self.token != "secret":
                    raise PermissionError("401 Unauthorized")
                self.folder = tmp_path / "hub" / name
                self.folder.parent.mkdir(parents=True)

            def upload_folder(self, repo_id, folder_path):
                import shutil

                shutil.copytree(folder_path, self.folder)
                return f"https://hub/{repo_id}/commit/1"

        monkeypatch.setattr("huggingface_hub.HfApi", Api)

    def test_there_and_back(self, ghn, api, hub, equal):
        url = pyg_ghn.checkpoint.push_to_hub(ghn, "owner/ghn", token="secret")
        assert url == "https://hub/owner/ghn/commit/1"
        assert equal(from_pretrained("owner/ghn"), ghn)

    def test_refused(self, ghn, api):
        with pytest.raises(CheckpointError, match="'owner/ghn' cannot be uploaded: 401"):
            pyg_ghn.checkpoint.push_to_hub(ghn, "owner/ghn", token="wrong")
