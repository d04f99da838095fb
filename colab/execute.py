"""Runs a notebook from top to bottom and keeps what it shows.

    MAGNIFIER_TOY=1 python -m colab.execute colab/quickstart.ipynb --output colab

It runs in a temporary folder, in a kernel of its own, and stops at the first error.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import tempfile

import nbclient
import nbformat

ROOT = pathlib.Path(__file__).parents[1]
_UNFINISHED = re.compile(r"(?<!\b100)%\|| {40}\n")  # progress bars that others were drawn over


def execute(path: pathlib.Path, *, folder: pathlib.Path) -> nbformat.NotebookNode:
    """Runs the cells of a notebook with the checkout's packages, which its first cell finds.

    Args:
        path: The notebook.
        folder: Where it runs, and leaves its files.

    Returns:
        The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    (folder / "magnifier_jax_source").symlink_to(ROOT)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = nbclient.NotebookClient(
        notebook, timeout=None, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            cell.outputs = _tidy(cell.outputs, folder=folder)
    return notebook


def _tidy(
    outputs: list[nbformat.NotebookNode], *, folder: pathlib.Path
) -> list[nbformat.NotebookNode]:
    """Leaves of a progress bar what a terminal would show in the end, and no private paths."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            text = re.sub(r"[^\n]*\r(?=[^\n])", "", output.text).replace("\x1b[A", "")
            for private in (folder.resolve(), ROOT):
                text = text.replace(f"{private}/", "")
            lines = text.replace("\r", "").splitlines(True)
            output.text = "".join(line for line in lines if not _UNFINISHED.search(line))
    return [output for output in kept if output.get("text", "x").strip()]


def main() -> None:
    """Runs the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=pathlib.Path)
    parser.add_argument(
        "--output", type=pathlib.Path, help="folder for the notebooks with what they showed"
    )
    options = parser.parse_args()
    for path in options.notebooks:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, folder=pathlib.Path(folder))
        if options.output:
            nbformat.write(notebook, options.output / path.name)
        print(f"{path}: ran {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells")


if __name__ == "__main__":
    main()
