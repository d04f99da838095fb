"""A gallery file in the making: what has been embedded stays, whatever interrupts the work."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy

from input_pipeline.errors import DataError
from input_pipeline.files import (
    checksum,
    open_whole,
    read_json,
    reading,
    write_json,
    writing,
)
from magnifier_jax.gallery import seal

_ARRAYS = ("descriptors", "parts", "visible")
_ROWS_AT_ONCE = 1024
_WHAT = "part of unfinished work"


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Images that were embedded together.

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

    Each array is a file of its own; the list of names, written last and with the checksums of the
    arrays, makes a chunk count. A chunk that is damaged does not count.

    Attributes:
        restarted: Whether there was unfinished work that something else decided, now removed.
        damaged: Number of chunks that were damaged, now removed.
    """

    def __init__(self, output: pathlib.Path, *, key: Mapping[str, Any]) -> None:
        """Opens the folder.

        Args:
            output: The gallery file.
            key: Everything that decides the arrays, such as the model and the folder of the
                images; chunks of another key are removed.

        Raises:
            UserError: The folder cannot be written.
        """
        self._output = output
        self._folder = output.with_name(f"{output.name}.unfinished")
        self.restarted, self.damaged = False, 0
        marker = self._folder / "key.json"
        with writing(self._folder):
            if self._folder.exists() and not _is_key(marker, dict(key)):
                shutil.rmtree(self._folder)
                self.restarted = True
            self._folder.mkdir(parents=True, exist_ok=True)
        write_json(marker, dict(key), checksum=True)
        self._places: dict[str, tuple[int, int]] = {}
        self._states: dict[str, str] = {}
        # Paths, for there can be more chunks than files that a process may have open.
        self._chunks: dict[int, dict[str, pathlib.Path]] = {}
        for path in sorted(self._folder.glob("[0-9]*.json")):
            self._reopen(path)

    def has(self, name: str, *, state: str) -> bool:
        """Whether this image is embedded and its file has not changed since."""
        return self._states.get(name) == state

    def add(self, chunk: Chunk) -> None:
        """Keeps a chunk.

        Raises:
            UserError: It cannot be written.
        """
        number = max(self._chunks, default=-1) + 1
        sums = {}
        with writing(self._folder):
            for name, array in chunk.arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                sums[name] = checksum(buffer.getbuffer())
                with self._path(number, name).open("wb") as file:
                    file.write(buffer.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
        listed = {"names": list(chunk.names), "states": list(chunk.states), "arrays": sums}
        write_json(self._folder / f"{number:07d}.json", listed, checksum=True)
        self._open(number, chunk.names, chunk.states, sums)

    def finish(self, names: Sequence[str], *, extra: Mapping[str, Any]) -> None:
        """Writes the gallery file in one piece, in little memory, and removes the chunks.

        Args:
            names: The images to put into it, in order; each has been added.
            extra: Other entries.

        Raises:
            UserError: It cannot be written.
        """
        places = np.array([self._places[name] for name in names], np.int64)
        with (
            writing(self._output),
            open_whole(self._output) as whole,
            zipfile.ZipFile(whole, "w", allowZip64=True) as file,
        ):
            for name in next(iter(self._chunks.values())):
                self._write(file, name, places)
            for name, value in {**extra, "names": np.asarray(names, np.str_)}.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    npy.write_array(entry, np.asanyarray(value), allow_pickle=False)
            seal(file)
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

    def _reopen(self, path: pathlib.Path) -> None:
        """Takes a chunk of earlier if all of it is as it was written, or removes it."""
        try:
            listed = read_json(path, what=_WHAT, checksum=True, required=True)
            with reading(path, what=_WHAT):
                number = int(path.stem)
                for name, expected in listed["arrays"].items():
                    if name not in _ARRAYS:
                        raise ValueError("it has an unknown array")
                    content = self._path(number, name)
                    if checksum(content.read_bytes()) != expected:
                        raise ValueError("a checksum differs")
                    if len(np.load(content, mmap_mode="r")) != len(listed["names"]):
                        raise ValueError("an array has another length")
                self._open(number, listed["names"], listed["states"], listed["arrays"])
        except DataError:
            self.damaged += 1
            with writing(path):
                path.unlink()

    def _open(
        self, number: int, names: Sequence[str], states: Sequence[str], arrays: Mapping[str, int]
    ) -> None:
        rows = list(zip(names, states, strict=True))
        self._chunks[number] = {array: self._path(number, array) for array in arrays}
        for row, (name, state) in enumerate(rows):
            self._places[name] = (number, row)
            self._states[name] = state

    def _path(self, number: int, array: str) -> pathlib.Path:
        return self._folder / f"{number:07d}.{array}.npy"


def _is_key(marker: pathlib.Path, key: dict[str, Any]) -> bool:
    try:
        found = read_json(marker, what=_WHAT, checksum=True, required=True)
    except DataError:
        return False
    return bool(found == json.loads(json.dumps(key)))
