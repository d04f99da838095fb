"""A wheel works from any folder, and takes no global name but `magnifier_jax`."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import setuptools

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "magnifier_jax", "input_pipeline")

pytestmark = pytest.mark.skipif(
    int(setuptools.__version__.split(".")[0]) < 77, reason="setuptools is older than 77"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder that a wheel of this checkout was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*SOURCES, "configs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    # A build from before a module was moved away.
    stale = source / "build/lib/magnifier_jax/moved_away.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    [wheel] = folder.glob("magnifier_jax-*.whl")
    target = folder / "installed"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    return target


def run(installed: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in another folder, with the installed package on its path, and no checkout."""
    elsewhere = installed.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    # An editable install of the checkout would hide what the wheel lacks.
    start = (
        "import sys; sys.meta_path[:] = [one for one in sys.meta_path"
        " if '__editable__' not in getattr(one, '__module__', '')];"
        f"sys.path[:] = [one for one in sys.path if one != {str(ROOT)!r}]"
    )
    (installed.parent / "sitecustomize.py").write_text(start)
    path = os.pathsep.join([str(installed), str(installed.parent)])
    inherited = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    others = [one for one in inherited if pathlib.Path(one) != ROOT]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([path, *others])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_one_name_at_the_top_level(installed: pathlib.Path) -> None:
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names - {"bin"} == {"magnifier_jax"}
    assert not (installed / "magnifier_jax/moved_away.py").exists()
    assert (installed / "magnifier_jax/py.typed").exists()
    page = {path.name for path in (installed / "magnifier_jax/serve/page").iterdir()}
    assert page == {path.name for path in (ROOT / "magnifier_jax/serve/page").iterdir()}
    [record] = installed.glob("*.dist-info/top_level.txt")
    assert record.read_text().split() == ["magnifier_jax"]


@pytest.mark.parametrize("name", ["input_pipeline", "configs"])
def test_common_names_stay_free(installed: pathlib.Path, name: str) -> None:
    found = run(installed, "-c", f"import {name}")
    assert "ModuleNotFoundError" in found.stderr
    inside = run(installed, "-c", f"import magnifier_jax.{name} as found; print(found.__file__)")
    assert inside.returncode == 0, inside.stderr
    assert inside.stdout.startswith(str(installed))


def test_modules_and_configurations_find_each_other(installed: pathlib.Path) -> None:
    code = """
import sys
from magnifier_jax.configs import ablation
from magnifier_jax.input_pipeline import readers
print(ablation.get_config("sab,cuhk03:detected").name)
print([name for name in sys.modules if name.split(".")[0] in ("configs", "input_pipeline")])
"""
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["cuhk03_detected_sab", "[]"]


def test_networks_come_along(installed: pathlib.Path) -> None:
    """Every one of the checkout, with its card, and where a user would find it."""
    code = "from magnifier_jax import weights; print(*(weights.find(n) for n in weights.names()))"
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    here = sorted(path.name for path in (ROOT / "magnifier_jax/weights").glob("*.safetensors"))
    paths = [pathlib.Path(path) for path in found.stdout.split()]
    assert [path.name for path in paths] == here
    for path in paths:
        assert path.is_relative_to(installed)
        assert path.stat().st_size == (ROOT / "magnifier_jax/weights" / path.name).stat().st_size
        assert path.with_suffix(".md").exists()


def test_people_are_drawn_by_several_processes(installed: pathlib.Path) -> None:
    code = """
import dataclasses, pathlib
from magnifier_jax.input_pipeline.synthetic import PRESETS, generate
settings = dataclasses.replace(
    PRESETS["quickstart"], train_identities=2, test_identities=2, distractor_identities=0,
    height=32, width=16,
)
root = generate(pathlib.Path("people"), settings, workers=2, progress=False)
print(sum(1 for _ in root.rglob("*.jpg")) > 0)
"""
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["True"]


def test_the_part_parser_comes_along(installed: pathlib.Path) -> None:
    code = """
import numpy as np
from magnifier_jax.input_pipeline.part_labels.drawn import DrawnLabeler
[labeled] = DrawnLabeler().label([np.zeros((64, 32, 3), np.uint8)])
print(labeled.part_map)
"""
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["None"]


def test_the_command_knows_its_configurations(installed: pathlib.Path) -> None:
    arguments = ("--config", "market1501", "--config.data.root=nowhere", "--workdir", "run")
    found = run(installed, "-m", "magnifier_jax.main", *arguments)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "nowhere" in found.stderr


@pytest.mark.parametrize("command", ["draw", "prepare", "embed"])
def test_the_console_command(installed: pathlib.Path, command: str) -> None:
    """`draw` and `prepare` are modules of a package that has moved."""
    start = (
        f"import sys; from magnifier_jax.commands import main; sys.exit(main([{command!r}, '-h']))"
    )
    found = run(installed, "-c", start)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("usage: ")
    script = (installed / "bin/magnifier").read_text()
    assert "from magnifier_jax.commands import main" in script
