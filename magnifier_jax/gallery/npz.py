"""Gallery files, and other `.npz` files of descriptors, whatever they turn out to be.

A gallery file is an `.npz` file: a ZIP archive of arrays, each with its own CRC. What a flipped bit
could still change is the archive's directory, so that an array is called something else and is
passed over. `seal` puts a checksum of that directory into the archive's comment, which costs
nothing, for it needs no second look at the arrays. Files without one are read too: those of before,
and those that `numpy.savez` wrote.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import checksum, claim_output, open_whole, reading, writing
from magnifier_jax.retrieval.descriptors import Metric

GALLERY_FILE = "a gallery file that magnifier embed or Gallery.save made"

_FORMAT = 1
_TEXTS = ("format", "metric", "model", "notes")
_ARRAYS = ("descriptors", "names", "identities", "cameras", "parts", "visible", "ids", "next_id")
_SEAL = b"magnifier checksum "
# Arrays of descriptors hardly shrink. One that grows more than this, beyond this size, is a bomb.
_MOST_GROWTH = 20
_MOST_UNPACKED = 2**28
_BYTES_AT_ONCE = 2**22
_ROWS_AT_ONCE = 2048
_LONGEST_LIST = 10**8


def file_header(*, metric: Metric, model: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a gallery file that are not one for each image; see `Gallery`."""
    return {
        "format": _FORMAT,
        "metric": metric,
        "model": model,
        "notes": json.dumps(dict(notes), ensure_ascii=False),
    }


def write_arrays(file: BinaryIO, arrays: Mapping[str, Any]) -> None:
    """Writes a sealed `.npz` file.

    Args:
      file: Open for writing.
      arrays: What it holds, without objects.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, np.asanyarray(value), allow_pickle=False)
        seal(archive)


def seal(archive: zipfile.ZipFile) -> None:
    """Adds the checksum over all entries of an `.npz` file; the last thing before it is closed."""
    archive.comment = _SEAL + _directory_checksum(archive)


def read_gallery(path: Path) -> dict[str, Any]:
    """The fields of a gallery file, as `Gallery.build` takes them, but not yet checked.

    Raises:
      UserError: if there is no such file.
      DataError: if it cannot be read or is no gallery file.
    """
    fields = read_arrays(path, only=(*_TEXTS, *_ARRAYS), wanted=GALLERY_FILE)
    texts = {name: fields.pop(name) for name in _TEXTS if name in fields}
    odd = [name for name, value in texts.items() if value.ndim]
    missing = [name for name in ("names", "descriptors") if name not in fields]
    missing += [name for name in ("format", "metric") if name not in texts]
    if missing or odd:
        what = f"has no {missing[0]}" if missing else f"has several values of {odd[0]}"
        raise DataError(f"{path} is not a gallery file, for it {what}; give {GALLERY_FILE}")
    if str(texts["format"]) != str(_FORMAT):
        found = f"of format {texts['format']}, not {_FORMAT}"
        raise DataError(f"{path} is a gallery file {found}; make it again")
    if fields["names"].dtype.kind != "U":
        raise DataError(f"{path} is a damaged gallery file: its names are not text")
    with reading(path, what="gallery file", advice=f"give {GALLERY_FILE}"):
        notes = json.loads(str(texts.get("notes", "{}")))
        if not isinstance(notes, dict):
            raise DataError(f"{path} is a damaged gallery file: its notes are not a JSON object")
    metric, model = str(texts["metric"]), str(texts.get("model", ""))
    return {**fields, "metric": metric, "model": model, "notes": notes}


def read_arrays(path: Path, *, only: Collection[str], wanted: str) -> dict[str, NDArray[Any]]:
    """Reads some arrays of an `.npz` file.

    Nothing is unpickled, and no more memory is taken than the file holds.

    Args:
      path: The file.
      only: Names of the arrays; those that are not there are left out.
      wanted: What the file should be, for messages.

    Raises:
      UserError: if there is no such file.
      DataError: if it cannot be read, is no `.npz` file or has none of the arrays.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give {wanted}")
    with reading(path, what=".npz file", advice=f"give {wanted}"), path.open("rb") as raw:
        start = raw.read(len(npy.MAGIC_PREFIX))
        if not start:
            raise ValueError("it is empty")
        if start == npy.MAGIC_PREFIX:
            raise ValueError("it holds a single array without a name")
        with zipfile.ZipFile(raw) as archive:
            _check_seal(archive)
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {
                name: _read_array(archive, entries[name], name=name)
                for name in only
                if name in entries
            }
    if not found:
        others = ", ".join(sorted(entries)) or "none"
        raise DataError(f"{path} has only the arrays {others}; give {wanted}")
    return found


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, name: str) -> NDArray[Any]:
    if info.file_size > max(_MOST_UNPACKED, _MOST_GROWTH * info.compress_size):
        raise ValueError(
            f"its array {name!r} would grow from {info.compress_size:,} to {info.file_size:,} bytes"
        )
    with archive.open(info) as entry:
        version = npy.read_magic(entry)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its array {name!r} is of an unknown version")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read(entry)
        if dtype.hasobject:
            raise ValueError(
                f"its array {name!r} holds Python objects, which are not read, for they could run "
                f"a program; save it as numbers or text, {name}=np.array(list({name}))"
            )
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or not dtype.itemsize:
            raise ValueError(f"its array {name!r} has an impossible shape")
        if size != info.file_size - entry.tell():
            raise ValueError(f"its array {name!r} is not of the size that it says")
        data, filled = bytearray(size), 0
        while piece := entry.read(min(size - filled, _BYTES_AT_ONCE)):
            data[filled : filled + len(piece)] = piece
            filled += len(piece)
        if filled != size or entry.read(1):
            raise ValueError(f"its array {name!r} is cut off")
    flat: NDArray[Any] = np.frombuffer(data, dtype) if size else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if by_column else "C")


def _check_seal(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise ValueError("it has two arrays of one name")
    if archive.comment.startswith(_SEAL[:9]) and archive.comment != _SEAL + _directory_checksum(
        archive
    ):
        raise ValueError("its checksum differs")


def _directory_checksum(archive: zipfile.ZipFile) -> bytes:
    lines = sorted(f"{info.filename} {info.CRC} {info.file_size}" for info in archive.infolist())
    return b"%08x" % checksum("\n".join(lines).encode("utf-8", "surrogateescape"))


def write_plain(
    folder: str | Path,
    as_written: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    *,
    descriptors: NDArray[np.floating],
    names: NDArray[np.str_],
    ids: NDArray[np.int64],
    next_id: int,
) -> None:
    """Writes plain arrays for other programs; see `Gallery.export_vectors`.

    Args:
      folder: Where to.
      as_written: Makes rows [n, D] into those that are written.
      descriptors: [N, D].
      names: [N].
      ids: [N].
      next_id: Above all ids.

    Raises:
      UserError: if the folder cannot be written, or the ids are too far apart for a list.
    """
    if next_id > _LONGEST_LIST:
        raise UserError(
            f"the list of names would have {next_id:,} entries, for ids are so large; "
            "build the gallery with smaller ids, or without"
        )
    listed: list[str | None] = [None] * next_id
    for number, name in zip(ids.tolist(), names.tolist(), strict=True):
        listed[number] = name
    with claim_output(Path(folder) / "descriptors.npy", force=True) as target, writing(target):
        with open_whole(target) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": descriptors.shape}
            npy.write_array_header_1_0(file, header)
            for start in range(0, len(descriptors), _ROWS_AT_ONCE):
                rows = as_written(descriptors[start : start + _ROWS_AT_ONCE])
                file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        with open_whole(target.with_name("ids.npy")) as file:
            np.save(file, ids)
        with open_whole(target.with_name("names.json")) as file:
            file.write(json.dumps(listed, indent=0).encode())
