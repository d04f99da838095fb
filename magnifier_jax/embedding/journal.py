"""A gallery file in the making: what has been described stays, whatever interrupts the work."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy

from input_pipeline.errors import UserError
from input_pipeline.files import open_whole, write_json
from magnifier_jax.retrieval import seal

_ARRAYS = ("descriptors", "parts", "visible")
_ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Pictures that were described together.

    Attributes:
        names: str, n of them.
        states: What tells whether each file has changed since, `[n]`.
        arrays: `descriptors` `[n, D]`, and perhaps `parts` `[n, P, E]` and `visible` `[n, P]`.
    """

    names: Sequence[str]
    states: Sequence[str]
    arrays: Mapping[str, np.ndarray]


class Journal:
    """Chunks in a folder beside the gallery file that they will become.

    Each array is a file of its own; the list of names, written last, makes a chunk count.
    """

    def __init__(self, output: pathlib.Path, *, key: str) -> None:
        """Opens the folder.

        Args:
            output: The gallery file.
            key: What decides the arrays, such as the model; chunks of another one are removed.

        Raises:
            UserError: The folder cannot be written.
        """
        self._output = output
        self._folder = output.with_name(f"{output.name}.unfinished")
        self.restarted = False
        marker = self._folder / "key.json"
        try:
            if self._folder.exists() and _read_json(marker) != key:
                shutil.rmtree(self._folder)
                self.restarted = True
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot write {self._folder} ({error.strerror}): give another --output."
            ) from error
        write_json(marker, key)
        self._places: dict[str, tuple[int, int]] = {}
        self._states: dict[str, str] = {}
        # Paths, for there can be more chunks than files that a process may have open.
        self._chunks: dict[int, dict[str, pathlib.Path]] = {}
        for path in sorted(self._folder.glob("[0-9]*.json")):
            listed = _read_json(path)
            if listed is not None:
                self._open(int(path.stem), listed["names"], listed["states"])

    def has(self, name: str, *, state: str) -> bool:
        """Whether this picture is described and its file has not changed since."""
        return self._states.get(name) == state

    def add(self, chunk: Chunk) -> None:
        """Keeps a chunk.

        Raises:
            UserError: It cannot be written.
        """
        number = max(self._chunks, default=-1) + 1
        try:
            for name, array in chunk.arrays.items():
                with self._path(number, name).open("wb") as file:
                    np.save(file, array)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"Cannot write {self._folder} ({error.strerror}): make room on the disk and give "
                "the same command again."
            ) from error
        listed = {"names": list(chunk.names), "states": list(chunk.states)}
        write_json(self._folder / f"{number:07d}.json", listed)
        self._open(number, chunk.names, chunk.states)

    def finish(self, names: Sequence[str], *, extra: Mapping[str, Any]) -> None:
        """Writes the gallery file in one piece, in little memory, and removes the chunks.

        Args:
            names: The pictures to put into it, in order; each has been added.
            extra: Other entries.

        Raises:
            UserError: It cannot be written.
        """
        places = np.array([self._places[name] for name in names], np.int64)
        try:
            with (
                open_whole(self._output) as whole,
                zipfile.ZipFile(whole, "w", allowZip64=True) as file,
            ):
                for name in next(iter(self._chunks.values())):
                    self._write(file, name, places)
                for name, value in {**extra, "names": np.asarray(names, np.str_)}.items():
                    with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        npy.write_array(entry, np.asanyarray(value), allow_pickle=False)
                seal(file)
        except OSError as error:
            raise UserError(
                f"Cannot write {self._output} ({error.strerror}): make room on the disk and give "
                "the same command again."
            ) from error
        self._chunks.clear()
        shutil.rmtree(self._folder)

    def _write(self, file: zipfile.ZipFile, name: str, places: np.ndarray) -> None:
        example = np.load(next(iter(self._chunks.values()))[name], mmap_mode="r")
        shape = (len(places), *example.shape[1:])
        with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
            header = {"descr": npy.dtype_to_descr(example.dtype), "fortran_order": False}
            npy.write_array_header_1_0(entry, {**header, "shape": shape})
            for start in range(0, len(places), _ROWS_AT_ONCE):
                wanted = places[start : start + _ROWS_AT_ONCE]
                rows = np.empty((len(wanted), *shape[1:]), example.dtype)
                for number in np.unique(wanted[:, 0]):
                    here = wanted[:, 0] == number
                    chunk = np.load(self._chunks[int(number)][name], mmap_mode="r")
                    rows[here] = chunk[wanted[here, 1]]
                entry.write(rows.tobytes())

    def _open(self, number: int, names: Sequence[str], states: Sequence[str]) -> None:
        self._chunks[number] = {
            array: path for array in _ARRAYS if (path := self._path(number, array)).exists()
        }
        for row, (name, state) in enumerate(zip(names, states, strict=True)):
            self._places[name] = (number, row)
            self._states[name] = state

    def _path(self, number: int, array: str) -> pathlib.Path:
        return self._folder / f"{number:07d}.{array}.npy"


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
