"""Configurations are found by their names, wherever a command is started."""

from __future__ import annotations

import pathlib

import pytest

import configs

FOLDER = pathlib.Path(configs.__file__).parent


def test_names_are_those_of_the_files() -> None:
    assert {"default", "market1501", "quickstart", "ablation"} <= set(configs.names())
    assert "__init__" not in configs.names()


@pytest.mark.parametrize("name", ["market1501", "market1501.py", "configs/market1501.py"])
def test_from_another_folder(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert configs.find(name) == str(FOLDER / "market1501.py")
    assert configs.find(f"{name}:a,b:c") == f"{FOLDER / 'market1501.py'}:a,b:c"


@pytest.mark.parametrize("name", ["", "nobody", "mine/market1501.py", "market1501.txt", "__init__"])
def test_others_stay(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert configs.find(name) == name


def test_a_file_comes_first(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "market1501.py").write_text("")
    assert configs.find("market1501.py") == "market1501.py"
    assert configs.find("market1501") == str(FOLDER / "market1501.py")
