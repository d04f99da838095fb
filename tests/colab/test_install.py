"""What the first cell of the notebooks does, without installing anything."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import nbformat
import pytest

from colab.install import choose_extras, make_plan

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
REQUIREMENTS = [
    "jax>=0.10",
    "numpy>=2.0",
    "flax>=0.12",
    "tensorflow-cpu>=2.20; sys_platform != 'nowhere'",
    "tensorflow>=2.20; sys_platform == 'nowhere'",
    "jax[cuda13]>=0.10; extra == 'gpu'",
    "jax[tpu]>=0.10; extra == 'tpu'",
    "onnx>=1.18; extra == 'export'",
]
CONSTRAINTS = [
    "# Versions",
    "jax==0.11.2",
    "flax==0.12.12",
    "numpy==2.4",
    "ipykernel==7.4.0",
    "onnx==1.23.2",
    "optree==0.20.0",
    "tensorflow_cpu==2.21.0",
]
COLAB = {
    "jax": "0.7.2",
    "jax-cuda12-plugin": "0.7.2",
    "numpy": "2.0.2",
    "ipykernel": "6.17.1",
    "tensorflow": "2.20.0",
}


def first_cell(path: pathlib.Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


def run_first_cell(folder: pathlib.Path, source: str) -> subprocess.CompletedProcess[str]:
    """Runs the cell in `folder`, with `SOURCE` filled in, as a process of its own."""
    code = first_cell(NOTEBOOKS[0])
    assert code.startswith('SOURCE = ""')
    code = code.replace('SOURCE = ""', f"SOURCE = {source!r}", 1)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """Something that looks like a checkout; its installer only says where it is."""
    folder = tmp_path / "elsewhere" / "magnifier_jax-main"
    (folder / "colab").mkdir(parents=True)
    (folder / "colab/install.py").write_text("print('ran', __file__, __name__)\n")
    (tmp_path / "here" / "notebook").mkdir(parents=True)
    return folder


def test_the_notebooks_begin_with_the_same_cell() -> None:
    assert first_cell(NOTEBOOKS[0]) == first_cell(NOTEBOOKS[1])


def test_without_a_source_it_stops_with_one_sentence(checkout: pathlib.Path) -> None:
    here = checkout.parents[1] / "here/notebook"
    for source in ("", "/no/such/folder", str(here)):
        done = run_first_cell(here, source)
        assert done.returncode == 1
        assert done.stderr.startswith("magnifier_jax was not found: set SOURCE to ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["folder", "parent", "zip", "git", "here", "above"])
def test_the_source_is_found(checkout: pathlib.Path, kind: str) -> None:
    here = checkout.parents[1] / "here/notebook"
    source = ""
    if kind in ("folder", "parent"):
        source = str(checkout if kind == "folder" else checkout.parent)
    elif kind == "zip":
        source = shutil.make_archive(str(here / "magnifier"), "zip", checkout.parent)
    elif kind == "git":
        for command in ("init --quiet", "add .", "-c user.name=a -c user.email=a commit -qm a"):
            subprocess.run(["git", *command.split()], cwd=checkout, check=True)
        source = checkout.as_uri()
    else:
        shutil.copytree(checkout, (here if kind == "here" else here.parent) / checkout.name)
    done = run_first_cell(here, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ran ")
    assert done.stdout.endswith("__main__\n")


def test_a_gpu_runtime() -> None:
    plan = make_plan(REQUIREMENTS, CONSTRAINTS, COLAB, extras=("export", "gpu"))
    assert plan.requirements == ("jax>=0.10", "flax>=0.12", "jax[cuda13]>=0.10", "onnx>=1.18")
    # Of a jax that goes.
    assert plan.remove == ("jax-cuda12-plugin",)
    # Neither the numpy nor the kernel that are there change.
    kept = {line.split("==")[0] for line in plan.constraints}
    assert kept == {"jax", "flax", "onnx", "optree", "tensorflow_cpu"}


def test_tensorflow_is_never_laid_over_another_one() -> None:
    old = make_plan(REQUIREMENTS, CONSTRAINTS, COLAB | {"tensorflow": "2.19.0"}, extras=())
    assert "tensorflow>=2.20" in old.requirements
    assert not [each for each in old.requirements if "tensorflow-cpu" in each]
    bare = make_plan(REQUIREMENTS, CONSTRAINTS, {}, extras=())
    assert "tensorflow-cpu>=2.20" in bare.requirements
    assert "tensorflow>=2.20" not in bare.requirements


def test_nothing_is_done_twice() -> None:
    after = COLAB | {"jax": "0.11.2", "flax": "0.12.12", "onnx": "1.23.2"}
    ready = after | {"jax-cuda13-plugin": "0.11.2"}
    again = make_plan(REQUIREMENTS, CONSTRAINTS, ready, extras=("export", "gpu"))
    assert (again.requirements, again.remove) == ((), ())
    other = make_plan(REQUIREMENTS, CONSTRAINTS, after, extras=("export", "gpu"))
    assert other.requirements == ("jax[cuda13]>=0.10",)
    assert other.remove == ("jax-cuda12-plugin",)


def test_extras_follow_the_hardware(tmp_path: pathlib.Path) -> None:
    assert choose_extras(root=tmp_path) == ("export",)
    assert choose_extras(root=tmp_path, driver=580) == ("export", "gpu")
    assert choose_extras(root=tmp_path, driver=550) == ("export", "gpu-cuda12")
    (tmp_path / "dev/vfio").mkdir(parents=True)
    (tmp_path / "dev/vfio/0").touch()
    assert choose_extras(root=tmp_path) == ("export", "tpu")
