"""A folder of images into a gallery that grows, resumed where it was interrupted.

Each process of a run takes a share of the images and appends it to the same gallery. What is in the
gallery and has not changed on disk is passed over, so that the same command resumes, and adds what
is new in a folder.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from input_pipeline.errors import FilesError, Problem, UserError
from input_pipeline.files import reading
from input_pipeline.identities.file_names import Who
from input_pipeline.images.folder import ImageFolder
from magnifier_jax.devices import together
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.folder import file_state, in_chunks, listed
from magnifier_jax.embedding.model import Model

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore

_CHUNK = 1024  # images of one commit, which an interruption can cost
_STATE = "file_state"


@dataclasses.dataclass(frozen=True)
class Grown:
    """What came of it, in this process's share of the folder.

    Attributes:
        added: Images that are new in the gallery.
        replaced: Images whose file had changed.
        unchanged: Images that were there already.
        problems: The files that were left out, and why.
    """

    added: int
    replaced: int
    unchanged: int
    problems: tuple[Problem, ...]


def embed_into(
    model: Model,
    folder: ImageFolder | str | os.PathLike[str],
    store: GalleryStore,
    *,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    parts: bool = True,
    skip_bad: bool = False,
    batch_size: int = 64,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Grown:
    """Embeds every image of a folder that is new or has changed into a gallery.

    Images under the folder that the gallery notes as that of its images are called by their paths
    below it, others by their whole paths.

    Args:
        model: The network, which must be the store's.
        folder: The folder, or what `list_folder` found in one.
        store: The gallery.
        columns: What else is known: for each column, by the images' names in the folder.
        dtype: Type of descriptors and part embeddings in a new gallery.
        parts: Whether part embeddings go into it, where the network has them.
        skip_bad: Whether files that cannot be read are left out, instead of refused in the end.
        batch_size: Images at a time.
        progress: Whether to show a progress bar.
        say: Told what is worth knowing.

    Raises:
        UserError: The gallery is of another network or cannot be written.
        FilesError: Files cannot be read; all others are in the gallery.
    """
    if model.model_id != store.model:
        raise UserError(f"{store.place} is a gallery of another network than {model.path}.")
    folder = listed(folder, say=say)
    with together():
        store.note_images(folder.root)
    task = _Task(model, folder, store, columns=columns or {}, dtype=dtype, parts=parts)
    rest, there = task.todo()
    bad: list[Problem] = []
    added = replaced = 0
    for chunk in in_chunks(rest, size=_CHUNK, total=len(task.share), progress=progress):
        problems, kept = task.embed(chunk, batch_size=batch_size, replace=there)
        bad += problems
        replaced += sum(task.names[row] in there for row in kept)
        added += sum(task.names[row] not in there for row in kept)
    if bad and not skip_bad:
        raise FilesError(
            "All others are in the gallery; replace or remove these and give the same command "
            "again, or leave them out with --skip-bad",
            bad,
        )
    return Grown(added, replaced, len(task.share) - len(rest), tuple(bad))


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """One folder on its way into one store."""

    model: Model
    folder: ImageFolder
    store: GalleryStore
    columns: Mapping[str, Mapping[str, Any]]
    dtype: str
    parts: bool

    @functools.cached_property
    def names(self) -> list[str]:
        """What the gallery calls each image of the folder."""
        root = pathlib.Path(os.path.abspath(self.folder.root))  # noqa: PTH100 - links stay
        noted = self.store.notes.get("images")
        base = pathlib.Path(noted) if isinstance(noted, str) else root
        if not root.is_relative_to(base):
            return [(root / name).as_posix() for name in self.folder.names]
        below = root.relative_to(base)
        return [(below / name).as_posix() for name in self.folder.names]

    @property
    def share(self) -> range:
        """This process's images."""
        return range(jax.process_index(), len(self.folder.names), jax.process_count())

    def state(self, row: int) -> str:
        return file_state(self.folder.root / self.folder.names[row])

    def todo(self) -> tuple[list[int], set[str]]:
        """Images that are to be embedded, and the names among them that are to be replaced."""
        known = self.store.known(_STATE)
        names = self.names
        rest = [row for row in self.share if known.get(names[row], "") != self.state(row)]
        return rest, {names[row] for row in rest if names[row] in known}

    def embed(
        self, rows: Sequence[int], *, batch_size: int, replace: set[str]
    ) -> tuple[tuple[Problem, ...], list[int]]:
        """Embeds some images and commits them; returns what is bad, and which are in."""
        states = [self.state(row) for row in rows]
        found = self.model.embed(
            [self.folder.root / self.folder.names[row] for row in rows],
            batch_size=batch_size,
            skip_bad=True,
        )
        if not len(found):
            return found.problems, []
        assert found.positions is not None
        kept = [rows[place] for place in found.positions]
        who = [self.folder.who[row] or Who(None) for row in kept]
        names = self.names
        own = {
            "identities": [each.identity for each in who],
            "cameras": [each.camera for each in who],
            _STATE: [states[place] for place in found.positions],
        }
        if any(each.tracklet for each in who):
            own["tracklets"] = [each.tracklet for each in who]
        more = {
            column: [values.get(self.folder.names[row]) for row in kept]
            for column, values in self.columns.items()
        }
        write = self.store.replace if replace else self.store.append
        write(self._stored(found), names=[names[row] for row in kept], **{**own, **more})
        return found.problems, kept

    def _stored(self, found: Embeddings) -> Embeddings:
        dtype: Any = np.dtype(self.dtype)
        keep = self.parts and self.model.has_parts and found.parts is not None
        return Embeddings(
            found.descriptors.astype(dtype),
            parts=found.parts.astype(dtype) if keep and found.parts is not None else None,
            visible=found.visible if keep else None,
        )


def read_columns(path: pathlib.Path, *, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads what is known of images from a table.

    Args:
        path: A CSV file with a header, whose column `name` holds paths in the folder of images.
        names: The images of the folder; lines of others are passed over.

    Returns:
        For each other column, by the images' names, numbers where all of it are numbers, else
        text; empty cells are left out.

    Raises:
        UserError: There is no such file, or it names no image of the folder.
        DataError: It cannot be read, or names an image twice.
    """
    if not path.is_file():
        raise UserError(f"There is no table {path}.")
    wanted, columns = set(names), dict[str, dict[str, Any]]()
    with reading(path, what="CSV table"), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, strict=True)
        if "name" not in (lines.fieldnames or ()):
            raise ValueError("its first line has no column `name`")
        seen = set()
        for line in lines:
            if None in line or None in line.values():
                raise ValueError(f"line {lines.line_num} has another number of cells")
            if line["name"] in seen:
                raise ValueError(f"{line['name']!r} is in it twice")
            seen.add(line["name"])
            if line["name"] in wanted:
                for column, cell in line.items():
                    if column != "name" and cell.strip():
                        columns.setdefault(column, {})[line["name"]] = cell.strip()
    if not seen & wanted:
        raise UserError(f"{path} names no image of the folder, such as {names[0]}.")
    return {column: _as_numbers(cells) for column, cells in columns.items()}


def _as_numbers(cells: dict[str, str]) -> dict[str, Any]:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return {name: kind(cell) for name, cell in cells.items()}
    return dict(cells)
