"""Query images against a gallery file: their matches, marked right or wrong, listed and drawn."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from input_pipeline.errors import FilesError, UserError, printable
from input_pipeline.files import user_path
from input_pipeline.identities.file_names import Who
from input_pipeline.identities.identification import who_is_on
from input_pipeline.identities.spelling import one_spelling
from input_pipeline.identities.unknown import is_junk, is_unknown_camera
from input_pipeline.images.codec import read_image
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import Model
from magnifier_jax.evaluation.report.drawing import Mark, Ranking, Shown, ranking_sheet
from magnifier_jax.gallery import Gallery, SearchResult
from magnifier_jax.gallery.tracklets import gallery_of_tracklets
from magnifier_jax.retrieval.pooling import Groups, Pooled, pool
from magnifier_jax.tables import table

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore

DRAWN = 50
"""Matches of a query in a drawn ranking, at most."""
_CELL = (192, 96)  # height and width of an image in the sheet
_COLUMNS = 10  # matches in a row of the sheet
_WORDS = {Mark.RIGHT: "right", Mark.WRONG: "wrong", Mark.UNKNOWN: "-"}


@dataclasses.dataclass(frozen=True, eq=False)
class QueryMatches:
    """One query and the images of the gallery that are most like it, nearest first.

    Attributes:
        query: The image searched for, or the first of several that are searched for as one.
        names: The matches, as the gallery calls them, `[k]`.
        distances: `[k]`; infinite where the images have no visible part in common.
        marks: Whether each match shows the query's identity, `[k]`.
        ranking: What is drawn of it.
        others: The other images of the query, if there are several.
    """

    query: pathlib.Path
    names: tuple[str, ...]
    distances: tuple[float, ...]
    marks: tuple[Mark, ...]
    ranking: Ranking
    others: tuple[pathlib.Path, ...] = ()

    @property
    def title(self) -> str:
        """What the query is called."""
        more = f" and {len(self.others)} more as one query" if self.others else ""
        return printable(f"{self.query}{more}")


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """The matches of several queries.

    Attributes:
        queries: Each query with its matches.
        marked: Whether the gallery has identities, so that matches are right or wrong.
        images: Folder in which the gallery's images were looked for.
    """

    queries: tuple[QueryMatches, ...]
    marked: bool
    images: pathlib.Path

    @property
    def lost(self) -> int:
        """Number of matches whose image could not be read."""
        return sum(shown.image is None for found in self.queries for shown in found.ranking.matches)

    def table(self) -> str:
        """The matches as text, a line each."""
        header = ["rank", "distance", "image", *(["match"] if self.marked else [])]
        texts = []
        for found in self.queries:
            if not found.names:
                texts.append(f"\n{found.title}\nnobody")
                continue
            rows = [
                [
                    str(rank),
                    f"{distance:.4f}" if math.isfinite(distance) else "no part",
                    name,
                    *([_WORDS[mark]] if self.marked else []),
                ]
                for rank, (name, distance, mark) in enumerate(
                    zip(found.names, found.distances, found.marks, strict=True), start=1
                )
            ]
            listed = table(header, rows, left=(2, 3), rules=False)
            texts.append(f"\n{found.title}\n{listed}")
        return "\n".join(texts)

    def sheet(self) -> Image.Image:
        """The queries and their first matches, drawn with green, red and gray borders."""
        rankings = [found.ranking for found in self.queries]
        return ranking_sheet(rankings, cell=_CELL, columns=_COLUMNS)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Which images of a gallery can be matches.

    Attributes:
        where: A filter, as `camera != 3`; see `magnifier_jax.gallery.where`.
        exclude: Columns in which a match must differ from its query, such as `camera`; each with
            the queries' value, or None where that is told by the query's name or by the gallery.
        max_distance: The greatest distance of a match.
        fpr: The false positive rate whose threshold, which the gallery notes, is the greatest
            distance.
    """

    where: str | None = None
    exclude: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    max_distance: float | None = None
    fpr: float | None = None


def search_images(
    gallery: Gallery | GalleryStore,
    queries: Sequence[str | os.PathLike[str]],
    *,
    top: int = 10,
    parts: bool = False,
    together: bool = False,
    tracklets: bool = False,
    limits: Limits | None = None,
    model: Model | str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> Matches:
    """Finds the images of a gallery that are most like each query.

    Args:
        gallery: What `magnifier embed`, `embed_folder` or `embed_into` made, which knows its
            network.
        queries: Paths of images.
        top: How many matches of each.
        parts: Whether only the body parts that both images show are compared.
        together: Whether all queries show one person and are searched for as one.
        tracklets: Whether matches are tracklets rather than images, each named after its first
            image; the images that the limits let through are read into memory for that.
        limits: Which images can be matches; all, if not given.
        model: The gallery's network or where it is, if it has moved.
        images: Folder of the gallery's images, if it has moved.

    Raises:
        UserError: There is no such query, or the network is another one than the gallery's.
        FilesError: Queries cannot be read.
    """
    paths = [user_path(path) for path in queries]
    for path in paths:
        if not path.is_file():
            raise UserError(f"There is no image {path}.")
    folder = image_folder(gallery, images)
    limits = limits or Limits()
    if limits.fpr is not None and (together or tracklets):
        raise UserError(
            "The thresholds of a gallery are those of single images: give the greatest distance "
            "instead of a false positive rate."
        )
    gallery.check_limits(where=limits.where, fpr=limits.fpr, parts=parts)
    exclude = _excluded(gallery, paths, limits.exclude, folder)
    network = model if isinstance(model, Model) else gallery_network(gallery, model)
    if network.model_id != gallery.model:
        raise UserError(
            f"The gallery was made by another network (step {gallery.notes.get('step')} of "
            f"{_note(gallery, 'workdir')}) than the one in {network.path}: name its work directory "
            "with --workdir, or embed the images again with `magnifier embed`."
        )
    embedded = network.embed(paths, skip_bad=True)
    if embedded.problems:
        raise FilesError("Give other queries", embedded.problems)
    asked: Embeddings | Pooled = embedded
    queries_of: list[tuple[pathlib.Path, ...]] = [(path,) for path in paths]
    if together:
        asked, queries_of = pool(embedded, Groups.together(len(paths))), [tuple(paths)]
        exclude = {column: _alike(column, values) for column, values in exclude.items()}
    searched = gallery
    if tracklets:
        searched = gallery_of_tracklets(gallery, where=limits.where)
        if not isinstance(gallery, Gallery):  # The filter has been applied.
            limits = dataclasses.replace(limits, where=None)
    result = _find(searched, asked, paths, top=top, parts=parts, limits=limits, exclude=exclude)
    found = tuple(_matches(each, result, i, folder) for i, each in enumerate(queries_of))
    return Matches(found, result.identities is not None, folder)


def _alike(column: str, values: Sequence[Any]) -> list[Any]:
    """The value that all images of one query have in a column, once.

    Raises:
        UserError: They differ.
    """
    if len(set(values)) > 1:
        several = " and ".join(map(str, sorted(set(values))[:2]))
        raise UserError(
            f"The images of the query are of {column} {several}: say which one to leave out, as in "
            f"--exclude {column}=3."
        )
    return list(values[:1])


def image_folder(
    gallery: Gallery | GalleryStore, images: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Folder of a gallery's images: the one given, or the one that the gallery notes."""
    return user_path(images or _note(gallery, "images"))


def _note(gallery: Gallery | GalleryStore, name: str) -> str:
    """A note of the gallery, which anybody can have written; empty if it is no text."""
    value = gallery.notes.get(name)
    return value if isinstance(value, str) and "\0" not in value else ""


def gallery_network(
    gallery: Gallery | GalleryStore, moved: str | os.PathLike[str] | None = None
) -> Model:
    """The network that made a gallery.

    Args:
        gallery: What `magnifier embed`, `embed_folder` or `embed_into` made.
        moved: Where the network is, if not where the gallery notes.

    Raises:
        UserError: It is not there, or the gallery does not say which it is.
    """
    made_by, step = _note(gallery, "workdir"), gallery.notes.get("step")
    if not gallery.model or not made_by:
        raise UserError(
            "The gallery file does not say which network made it, so no query can be embedded "
            "for it: make it with `magnifier embed`."
        )
    checkpoint: Any = step if type(step) is int and 0 <= step < 2**63 else "latest"
    return load(moved or made_by, checkpoint=checkpoint, flip=gallery.notes.get("flip") is True)


def _excluded(
    gallery: Gallery | GalleryStore,
    paths: Sequence[pathlib.Path],
    columns: Mapping[str, str | None],
    folder: pathlib.Path,
) -> dict[str, list[Any]]:
    """The values of each query in the columns in which its matches must differ."""
    found = {}
    for column, value in columns.items():
        known = gallery.known(column)
        sample = next((each for each in known.values() if each is not None), None)
        if sample is None:
            raise UserError(f"The gallery knows no {column}, so none can be excluded.")
        if value is not None:
            try:
                found[column] = [type(sample)(value)] * len(paths)
            except (TypeError, ValueError) as error:
                raise UserError(f"{column} {value!r} is none of the gallery's.") from error
            continue
        by_path = {(folder / name).resolve(): each for name, each in known.items()}
        found[column] = [by_path.get(path.resolve(), _told(path, column, sample)) for path in paths]
        unknown = [path for path, each in zip(paths, found[column], strict=True) if each is None]
        if unknown:
            raise UserError(
                f"The {column} of {unknown[0]} is not known: say which one to leave out, as in "
                f"--exclude {column}=3."
            )
    return found


def _told(path: pathlib.Path, column: str, sample: Any) -> Any:
    """What a query's own name says, as the gallery's images say it."""
    who = who_is_on(path, by_folder=column == "identity" and isinstance(sample, str))
    if who is None:
        return None
    return {"camera": who.camera, "identity": who.identity}.get(column)


def _find(
    gallery: Gallery | GalleryStore,
    embedded: Embeddings | Pooled,
    paths: Sequence[pathlib.Path],
    *,
    top: int,
    parts: bool,
    limits: Limits,
    exclude: Mapping[str, Sequence[Any]],
) -> SearchResult:
    settings: dict[str, Any] = {
        "top": top,
        "where": limits.where,
        "exclude": exclude,
        "max_distance": limits.max_distance,
        "fpr": limits.fpr,
    }
    if not parts:
        return gallery.search(embedded.descriptors, **settings)
    if embedded.parts is None or embedded.visible is None:
        raise UserError("This network has no part embeddings: search without --parts.")
    unseen = np.flatnonzero(~embedded.visible.any(1))
    if len(unseen):
        raise UserError(
            f"The network sees no body part in {paths[unseen[0]]}: search without --parts."
        )
    return gallery.search(embedded, parts=True, **settings)


def _matches(
    paths: Sequence[pathlib.Path], found: SearchResult, i: int, folder: pathlib.Path
) -> QueryMatches:
    """The matches of query `i`, whose images are at `paths`."""
    path, *others = paths
    count = int(found.counts[i])
    who = _who_on_all(found, paths)
    marks = _marks(found, paths, who, i, folder)
    shown = []
    for place in range(min(count, DRAWN)):
        distance = found.distances[i, place]
        number = f"{distance:.3f}" if math.isfinite(distance) else "no part"
        image = _read(folder / str(found.names[i, place]))
        shown.append(Shown(image, (number, _title(found, i, place)), marks[place]))
    name = printable(path.name) + (f" + {len(others)}" if others else "")
    captions = (name, _words(who)) if who else (name,)
    return QueryMatches(
        path,
        names=tuple(map(str, found.names[i, :count])),
        distances=tuple(map(float, found.distances[i, :count])),
        marks=tuple(marks),
        ranking=Ranking(Shown(_read(path), captions), tuple(shown)),
        others=tuple(others),
    )


def _who_on_all(found: SearchResult, paths: Sequence[pathlib.Path]) -> Who | None:
    """Who is on all images of a query, if it is told of each that it is the same person."""
    told = [_who(found, path) for path in paths]
    known = [each for each in told if each is not None]
    if len(known) < len(told) or len({each.identity for each in known}) > 1:
        return None
    cameras = {each.camera for each in known}
    return Who(known[0].identity, cameras.pop() if len(cameras) == 1 else None)


def _who(found: SearchResult, path: pathlib.Path) -> Who | None:
    """Who is on a query, told as the gallery's identities are; None if it is not told."""
    if found.identities is None:
        return None
    who = who_is_on(path, by_folder=found.identities.dtype.kind == "U")
    return None if who is None or who.identity is None or is_junk(who.identity) else who


def _marks(
    found: SearchResult,
    paths: Sequence[pathlib.Path],
    who: Who | None,
    i: int,
    folder: pathlib.Path,
) -> list[Mark]:
    """Whether each match is right; unknown for the query itself and without identities."""
    count = int(found.counts[i])
    if found.identities is None or who is None:
        return [Mark.UNKNOWN] * count
    marks, asked = [], {path.resolve() for path in paths}
    for place in range(count):
        itself = (folder / str(found.names[i, place])).resolve() in asked
        identity = found.identities[i, place].item()
        if itself or is_junk(identity):
            marks.append(Mark.UNKNOWN)
        else:
            name = one_spelling(identity) if isinstance(identity, str) else identity
            marks.append(Mark.RIGHT if name == who.identity else Mark.WRONG)
    return marks


def _title(found: SearchResult, i: int, place: int) -> str:
    """Who is on a match, as far as it is known, or the image's name."""
    identity = None if found.identities is None else found.identities[i, place].item()
    if identity is None or is_junk(identity):
        return printable(pathlib.PurePath(str(found.names[i, place])).name)
    camera = None if found.cameras is None else found.cameras[i, place].item()
    return _words(Who(identity, None if is_unknown_camera(camera) else camera))


def _words(who: Who) -> str:
    person = f"{who.identity:04d}" if isinstance(who.identity, int) else str(who.identity)
    return printable(person if who.camera is None else f"{person} · camera {who.camera}")


def _read(path: pathlib.Path) -> np.ndarray | None:
    try:
        return read_image(path, image_size=(2 * _CELL[0], 2 * _CELL[1]))
    except ValueError:
        return None
