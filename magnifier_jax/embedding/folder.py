"""A folder of images into one gallery file, resumed where it was interrupted."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import tqdm
from numpy.typing import NDArray

from input_pipeline.errors import FilesError, Problem, UserError, printable
from input_pipeline.files import check_output, claim_output, user_path
from input_pipeline.identities.file_names import Who
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA
from input_pipeline.images.folder import ImageFolder, list_folder
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.journal import Chunk, Journal
from magnifier_jax.embedding.model import Model
from magnifier_jax.gallery import file_header

T = TypeVar("T")
_CHUNK = 512  # images that an interruption can cost


@dataclasses.dataclass(frozen=True)
class EmbeddedFolder:
    """What came of it.

    Attributes:
        output: The gallery file.
        images: Number of images in it.
        problems: The files that were left out, and why.
    """

    output: pathlib.Path
    images: int
    problems: tuple[Problem, ...]


def check_gallery_output(output: str | os.PathLike[str], *, force: bool = False) -> pathlib.Path:
    """The place of a gallery file, refused before any work if it cannot be one.

    Raises:
        UserError: It does not end with `.npz`, or is there already.
    """
    path = user_path(output).absolute()
    if path.suffix != ".npz":
        raise UserError(f"--output {path} must end with .npz.")
    check_output(path, force=force)
    return path


def embed_folder(
    model: Model,
    folder: ImageFolder | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    dtype: Literal["float32", "float16"] = "float32",
    parts: bool = True,
    skip_bad: bool = False,
    batch_size: int = 64,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> EmbeddedFolder:
    """Embeds every image of a folder into a gallery file.

    If it is interrupted, the same call resumes where it stopped.

    Args:
        model: The network.
        folder: The folder, or what `list_folder` found in one.
        output: The gallery file, which `Gallery.load` reads.
        force: Whether it may replace a file that is there.
        dtype: Type of descriptors and part embeddings in the file.
        parts: Whether part embeddings go into it, where the network has them.
        skip_bad: Whether files that cannot be read are left out, instead of refused in the end.
        batch_size: Images at a time.
        progress: Whether to show a progress bar.
        say: Told what is worth knowing.

    Raises:
        UserError: The file cannot be written, or is being written by another process.
        FilesError: Files cannot be read.
    """
    check_gallery_output(output, force=force)
    folder = listed(folder, say=say)
    parts = parts and model.has_parts
    with claim_output(output, force=force) as target:
        journal = Journal(target, key=_key(model, folder, dtype=dtype, parts=parts))
        if journal.restarted:
            say(
                "The unfinished gallery beside it was of another model, folder or type: "
                "starting anew."
            )
        if journal.damaged:
            say(f"{journal.damaged:,} damaged parts of the unfinished gallery are made anew.")
        bad = _embed(
            model,
            folder,
            journal,
            dtype=np.dtype(dtype),
            parts=parts,
            batch_size=batch_size,
            progress=progress,
        )
        if bad and not skip_bad:
            raise FilesError(
                "Replace or remove them and give the same command again, which resumes from here; "
                "or leave them out with --skip-bad",
                bad,
            )
        without = {problem.path for problem in bad}
        kept = [i for i, name in enumerate(folder.names) if folder.root / name not in without]
        if not kept:
            raise UserError(f"No image under {folder.root} can be read.")
        journal.finish([folder.names[i] for i in kept], extra=_entries(model, folder, kept))
    return EmbeddedFolder(target, len(kept), tuple(bad))


def _key(model: Model, folder: ImageFolder, *, dtype: str, parts: bool) -> dict[str, Any]:
    """Everything that decides what an image's file becomes."""
    return {
        "model": model.model_id,
        "image_size": list(model.image_size),
        "images": os.path.realpath(folder.root),
        "precision": model.precision,
        "dtype": dtype,
        "parts": parts,
    }


def _embed(
    model: Model,
    folder: ImageFolder,
    journal: Journal,
    *,
    dtype: np.dtype[Any],
    parts: bool,
    batch_size: int,
    progress: bool,
) -> list[Problem]:
    """Embeds what has not been embedded yet; returns the files that cannot be read."""
    states = {name: file_state(folder.root / name) for name in folder.names}
    rest = [name for name in folder.names if not journal.has(name, state=states[name])]
    bad: list[Problem] = []
    for names in in_chunks(rest, size=_CHUNK, total=len(folder.names), progress=progress):
        found = model.embed(
            [folder.root / name for name in names], batch_size=batch_size, skip_bad=True
        )
        bad += found.problems
        if len(found):
            assert found.positions is not None
            chosen = [names[i] for i in found.positions]
            journal.add(
                Chunk(
                    names=chosen,
                    states=[states[name] for name in chosen],
                    arrays=_arrays(found, dtype=dtype, parts=parts),
                )
            )
    return bad


def _arrays(found: Embeddings, *, dtype: np.dtype[Any], parts: bool) -> Mapping[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"descriptors": found.descriptors.astype(dtype)}
    if parts and found.parts is not None and found.visible is not None:
        arrays["parts"] = found.parts.astype(dtype)
        arrays["visible"] = found.visible
    return arrays


def listed(
    folder: ImageFolder | str | os.PathLike[str], *, say: Callable[[str], None]
) -> ImageFolder:
    """The images of a folder; what is worth knowing of it is said where it was not listed yet."""
    if isinstance(folder, ImageFolder):
        return folder
    found = list_folder(user_path(folder))
    for notice in found.notices:
        say(printable(f"{notice}."))
    return found


def in_chunks(rest: Sequence[T], *, size: int, total: int, progress: bool) -> Iterator[Sequence[T]]:
    """Images that are still to be embedded, some at a time, with a progress bar.

    Args:
        rest: The images.
        size: How many at a time.
        total: All images, those that are done among them.
        progress: Whether to show the bar.
    """
    with tqdm.tqdm(
        total=total, initial=total - len(rest), desc="Embedding", unit="img", disable=not progress
    ) as bar:
        for start in range(0, len(rest), size):
            chunk = rest[start : start + size]
            yield chunk
            bar.update(len(chunk))


def file_state(path: pathlib.Path) -> str:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        return ""  # It will be found to be bad.
    return f"{status.st_size} {status.st_mtime_ns}"


def _entries(model: Model, folder: ImageFolder, kept: Sequence[int]) -> dict[str, Any]:
    """What a gallery file holds beside the descriptors and the names."""
    entries = file_header(
        metric=model.metric,
        model=model.model_id,
        notes={**model.notes, "images": str(folder.root.absolute())},
    )
    chosen = [folder.who[i] or Who(None) for i in kept]
    if any(who.identity is not None for who in chosen):
        kind = np.str_ if folder.by_folder else np.int64
        unknown = [JUNK if who.identity is None else who.identity for who in chosen]
        entries["identities"] = np.array(unknown, kind)
    if any(who.camera is not None for who in chosen):
        cameras = [UNKNOWN_CAMERA if who.camera is None else who.camera for who in chosen]
        entries["cameras"] = np.array(cameras, np.int64)
    return entries
