import os

import pytest

from pyg_ghn._files import atomic_path


def test_file_appears_at_the_end(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as path:
        path.write_text("whole")
        assert path.suffix == ".txt" and path != target
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_path(target) as path:
        path.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_private_file_becomes_an_ordinary_one(tmp_path):
    ordinary, target = tmp_path / "ordinary", tmp_path / "file.txt"
    ordinary.touch()
    with atomic_path(target) as path:
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    assert target.stat().st_mode == ordinary.stat().st_mode
