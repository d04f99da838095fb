"""The notebooks run from top to bottom at toy size, and the outputs kept in them are real."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
MOST_BYTES = 400_000


def code_cells(path: pathlib.Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cells: list[nbformat.NotebookNode], kind: str) -> list[str]:
    """What the cells showed of a MIME type, or printed (`stdout`, `stderr`)."""
    found = []
    for output in (output for cell in cells for output in cell.outputs):
        if output.output_type == "stream" and output.name == kind:
            found.append(output.text)
        elif kind in output.get("data", {}):
            found.append(output.data[kind])
    return found


def check_shown(path: pathlib.Path, cells: list[nbformat.NotebookNode]) -> None:
    """Each kind of result, by the call that makes it."""

    def of(call: str, kind: str) -> list[str]:
        return shown([cell for cell in cells if call in cell.source], kind)

    assert "is installed" in "".join(of("colab/install.py", "stdout"))
    assert len(of("part_map_sheet(", "image/jpeg")) == 1
    assert len(of("search_images(", "image/jpeg")) >= 1
    assert "right" in "".join(of("search_images(", "stdout"))
    if path.stem == "search":
        assert "as one query" in "".join(of("together=True", "stdout"))
        assert len(of("mj.explain(", "image/jpeg")) == 1
        assert "most alike" in "".join(of("mj.explain(", "stdout"))
        assert "mAP" in "".join(of("model.evaluate(", "stdout"))
        said = "".join(of("model.adapt(", "stdout"))
        assert "Adapted to" in said
        assert "mAP" in said
        return
    assert "mAP" in "".join(of("table(result.scores", "stdout"))
    charts = "".join(of("curves(read_records", "image/svg+xml"))
    for title in ("Total loss", "Identity losses", "Triplet losses", "Learning rate"):
        assert title in charts
    assert "Largest relative difference" in "".join(of("mj.export(", "stdout"))
    said = "".join(of("InferenceSession(", "stdout"))
    assert "length 1.0000" in said
    assert "cosine to the network's 1.0000" in said


def test_cells_call_functions_rather_than_commands(path: pathlib.Path) -> None:
    for cell in code_cells(path):
        assert "assert" not in cell.source
        assert "main(" not in cell.source.replace('run_name="__main__"', "")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> pathlib.Path:
    return request.param


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["quickstart", "search", "your_images"]


@pytest.mark.slow
def test_runs(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "MAGNIFIER_TOY": "1"}
    command = [sys.executable, "-m", "colab.execute", str(path), "--output", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_shown(path, code_cells(tmp_path / path.name))


def test_kept_outputs_are_of_this_text_and_small(path: pathlib.Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    check_shown(path, cells)
    assert path.stat().st_size < MOST_BYTES
    assert str(ROOT) not in path.read_text(encoding="utf-8")
