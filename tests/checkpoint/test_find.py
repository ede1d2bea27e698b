import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

import pyg_ghn
from pyg_ghn.checkpoint import (
    RELEASED,
    from_pretrained,
    loading,
    read_metadata,
    save_pretrained,
)
from pyg_ghn.errors import CheckpointError


@pytest.fixture(autouse=True)
def packaged(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "PRETRAINED", tmp_path / "pretrained")


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


class ReadTimeoutOfSomeLibrary(Exception):
    pass


@pytest.mark.parametrize("name", ["owner/ghn", "ghn3tm8.pt"])
@pytest.mark.parametrize("error", [LocalEntryNotFoundError, ReadTimeoutOfSomeLibrary])
def test_no_network(monkeypatch, name, error):
    def download(repository, file):
        raise error("no connection.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match=r"cannot be down.*no connection. .*give its path"):
        from_pretrained(name)


def test_packaged_and_unknown(ghn, tmp_path, equal):
    save_pretrained(ghn, tmp_path / "pretrained" / "ghn3-tiny", {"note": "x"})
    assert equal(from_pretrained("ghn3-tiny"), ghn)
    assert read_metadata("ghn3-tiny")["note"] == "x"
    for name in ("ghn3-b", "ghn3-a"):
        save_pretrained(ghn, tmp_path / "pretrained" / name)
    known = r": ghn3-a, ghn3-b, ghn3-tiny\..*ghn3tm8.pt"
    with pytest.raises(CheckpointError, match=rf"'ghn4' is no file.*{known}"):
        from_pretrained("ghn4")


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000], ids=len)
def test_name_that_no_file_can_have(name):
    with pytest.raises(CheckpointError, match=r"cannot be looked up|is no file"):
        from_pretrained(name)


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("name", ["owner/ghn", "owner/ghn-v1.5"])
def test_repository(name, config, ghn, tmp_path, hub, equal):
    (tmp_path / "hub" / name).mkdir(parents=True)  # its suffix makes no file of it
    save_pretrained(ghn, tmp_path / "hub" / name)
    if not config:
        (tmp_path / "hub" / name / "config.json").unlink()
    assert equal(from_pretrained(name), ghn)
    assert hub == [(name, "model.safetensors"), (name, "config.json")]


@pytest.mark.parametrize("name", RELEASED)
def test_released(ghn, tmp_path, hub, equal, name):
    path = tmp_path / "hub" / "SamsungSAILMontreal" / "ghn3" / name
    path.parent.mkdir(parents=True)
    torch.save(ghn.state_dict(), path)
    assert equal(pyg_ghn.from_pretrained(name), ghn)
    assert hub == [("SamsungSAILMontreal/ghn3", name)]


def test_files_are_not_looked_for_on_the_hub(ghn, tmp_path, monkeypatch, hub, equal):
    monkeypatch.chdir(tmp_path)
    torch.save(ghn.state_dict(), "ghn3tm8.pt")
    assert equal(from_pretrained("ghn3tm8.pt"), ghn) and not hub
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

    def test_there_and_back_or_refused(self, ghn, api, hub, equal):
        url = pyg_ghn.checkpoint.push_to_hub(ghn, "owner/ghn", token="secret")
        assert url == "https://hub/owner/ghn/commit/1"
        assert equal(from_pretrained("owner/ghn"), ghn)
        with pytest.raises(CheckpointError, match="'owner/ghn' cannot be uploaded: 401"):
            pyg_ghn.checkpoint.push_to_hub(ghn, "owner/ghn", token="wrong")
