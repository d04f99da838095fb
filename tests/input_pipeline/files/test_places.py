import pathlib

import pytest

from input_pipeline import files
from input_pipeline.errors import UserError


def test_paths_are_expanded_as_people_write_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", "market")
    assert files.user_path("~/x") == tmp_path / "x"
    assert files.user_path("/data/$SETS/x") == pathlib.Path("/data/market/x")
    assert files.user_path(pathlib.Path("x")) == pathlib.Path("x")
    with pytest.raises(UserError, match="there is no such user"):
        files.user_path("~nosuchuser/x")
    with pytest.raises(UserError, match="null character"):
        files.user_path("a\0b")


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert files.cache_folder() == tmp_path / "cache" / "magnifier_jax"
    assert files.default_data_dir() == files.cache_folder() / "prepared"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "magnifier_jax"

    def homeless() -> pathlib.Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", homeless)
    assert files.cache_folder().name == "magnifier_jax"
