"""`magnifier search`: finds the images of a gallery file that are most like a query."""

from __future__ import annotations

import argparse
import itertools
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import claim_output, open_whole, user_path, writing

if TYPE_CHECKING:
    import numpy as np

    from input_pipeline.identities import Who
    from magnifier_jax.embedding.embeddings import Embeddings
    from magnifier_jax.evaluation.report.drawing import Mark, Ranking
    from magnifier_jax.retrieval import Gallery, SearchResult

_CELL = (192, 96)  # height and width of an image in the sheet
_COLUMNS = 10  # matches in a row of the sheet
_DRAWN = 50  # matches of a query in the sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_search, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier search",
        description="Lists the images of a gallery file that are most like a query, nearest "
        "first, and draws them. The gallery file, made by `magnifier embed`, knows its network "
        "and its images. Where the query's name (0002_c1_7.jpg) or folder (query/alice) tells "
        "its identity as in the gallery, matches are marked right or wrong.",
    )
    add = parser.add_argument
    add("--gallery", required=True, metavar="FILE.npz", help="gallery file")
    add(
        "--query",
        type=pathlib.Path,
        required=True,
        nargs="+",
        metavar="IMAGE",
        help="one or more images to search for",
    )
    add("--top", type=console.positive, default=10, help="matches to list (10)")
    add(
        "--parts",
        action="store_true",
        help="compare only the body parts that both images show, so that what the query hides "
        "does not count against a match",
    )
    add(
        "--output",
        type=pathlib.Path,
        metavar="FILE.png",
        help="image of the ranking to write; if not given, it is named after the (first) query, "
        "NAME.ranking.png, in the current folder",
    )
    add("--force", action="store_true", help="replace the image of the ranking if it is there")
    add(
        "--workdir",
        metavar="PATH",
        help="work directory or file of the network, if it has moved since the gallery was made",
    )
    add("--images", metavar="DIR", help="folder of the images, if it has moved")
    return parser


def _search(options: argparse.Namespace) -> None:
    from magnifier_jax.retrieval import Gallery

    paths = [user_path(path) for path in options.query]
    output = _output(options.output, paths[0])
    for path in paths:
        if not path.is_file():
            raise UserError(f"There is no image {path}.")
    gallery = Gallery.load(user_path(options.gallery))
    folder = user_path(options.images or _text(gallery, "images"))
    sources = [*paths, user_path(options.gallery), *_image_at(output, gallery, folder)]
    with claim_output(output, force=options.force, sources=sources) as target:
        embedded = _embed(gallery, paths, workdir=options.workdir)
        found = _find(gallery, embedded, paths, top=options.top, parts=options.parts)
        marks = [_marks(gallery, path, found.indices[i], folder) for i, path in enumerate(paths)]
        for i, path in enumerate(paths):
            print(_table(gallery, path, found, i, marks[i]))
        rankings = [
            _ranking(gallery, path, found, i, marks[i], folder=folder)
            for i, path in enumerate(paths)
        ]
        _draw(rankings, target)
    print()
    print(printable(f"{_drawn(len(found.indices[0]))} drawn in {target}"))
    lost = [shown for ranking in rankings for shown in ranking.matches if shown.picture is None]
    if lost:
        print(
            printable(
                f"{len(lost):,} images could not be read, from {folder.absolute()} on: say with "
                "--images where they are."
            )
        )


def _output(given: pathlib.Path | None, query: pathlib.Path) -> pathlib.Path:
    """Where the ranking is drawn: as asked, or at a name in the current folder that is free."""
    if given is None:
        names = (f"{query.stem}.ranking{(n and -n) or ''}.png" for n in itertools.count())
        return next(path for path in map(pathlib.Path, names) if not path.exists())
    output = user_path(given)
    if _kind(output) is None:
        raise UserError(f"--output {output} must end as images do, such as .png.")
    return output


def _kind(path: pathlib.Path) -> str | None:
    """Pillow's name of the format that a file's ending asks for."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind if kind in Image.SAVE else None


def _draw(rankings: Sequence[Ranking], output: pathlib.Path) -> None:
    from magnifier_jax.evaluation.report.drawing import ranking_sheet

    sheet = ranking_sheet(rankings, cell=_CELL, columns=_COLUMNS)
    with writing(output), open_whole(output) as file:
        try:
            sheet.save(file, _kind(output))
        except ValueError as error:  # as of a format that cannot hold so large an image
            raise UserError(f"Cannot write {output} ({error}): give another --output.") from error


def _image_at(output: pathlib.Path, gallery: Gallery, folder: pathlib.Path) -> list[pathlib.Path]:
    """The image of the gallery that stands where the ranking would be drawn, if any."""
    if not output.exists():
        return []
    images = (folder / str(name) for name in gallery.names)
    return [path for path in images if path.exists() and path.samefile(output)]


def _text(gallery: Gallery, note: str) -> str:
    """A note of the gallery, which anybody can have written; empty if it is no text."""
    value = gallery.notes.get(note)
    return value if isinstance(value, str) and "\0" not in value else ""


def _drawn(matches: int) -> str:
    if matches > _DRAWN:
        return f"The first {_DRAWN} of {matches:,} matches are"
    return "The matches are" if matches > 1 else "The match is"


def _embed(gallery: Gallery, paths: Sequence[pathlib.Path], *, workdir: str | None) -> Embeddings:
    """Embeds the queries by the network that made the gallery, and by no other."""
    from magnifier_jax.embedding.model import load

    made_by, step = _text(gallery, "workdir"), gallery.notes.get("step")
    if not gallery.model or not made_by:
        raise UserError(
            "The gallery file does not say which network made it, so no query can be embedded "
            "for it: make it with `magnifier embed`."
        )
    checkpoint: Any = step if isinstance(step, int) and step >= 0 else "latest"
    flip = gallery.notes.get("flip") is True
    model = load(workdir or made_by, checkpoint=checkpoint, flip=flip)
    if model.model_id != gallery.model:
        raise UserError(
            f"The gallery was made by another network (step {step} of {made_by}) than the one "
            f"in {workdir or made_by}: name its work directory with --workdir, or embed the "
            "images again with `magnifier embed`."
        )
    return model.embed(paths)


def _find(
    gallery: Gallery,
    embedded: Embeddings,
    paths: Sequence[pathlib.Path],
    *,
    top: int,
    parts: bool,
) -> SearchResult:
    import numpy as np

    if not parts:
        return gallery.search(embedded.descriptors, top=top)
    if embedded.parts is None or embedded.visible is None:
        raise UserError("This network has no part embeddings: search without --parts.")
    unseen = np.flatnonzero(~embedded.visible.any(1))
    if len(unseen):
        raise UserError(
            f"The network sees no body part in {paths[unseen[0]]}: search without --parts."
        )
    return gallery.search_parts(embedded.parts, embedded.visible, top=top)


def _marks(
    gallery: Gallery, path: pathlib.Path, indices: np.ndarray, folder: pathlib.Path
) -> list[Mark]:
    """Whether each match is right; unknown for the query itself and without identities."""
    from input_pipeline.identities import is_junk, one_spelling
    from magnifier_jax.evaluation.report.drawing import Mark

    if gallery.identities is None:
        return [Mark.UNKNOWN] * len(indices)
    who = _who(gallery, path)
    marks = []
    for index in indices:
        itself = (folder / str(gallery.names[index])).resolve() == path.resolve()
        identity = gallery.identities[index]
        if who is None or itself or is_junk(identity):
            marks.append(Mark.UNKNOWN)
        else:
            name = one_spelling(identity) if isinstance(identity, str) else identity
            marks.append(Mark.RIGHT if name == who.identity else Mark.WRONG)
    return marks


def _who(gallery: Gallery, path: pathlib.Path) -> Who | None:
    """Who is on a query, told as the gallery's identities are; None if it is not told."""
    from input_pipeline.identities import is_junk, who_is_on

    if gallery.identities is None:
        return None
    who = who_is_on(path, by_folder=gallery.identities.dtype.kind == "U")
    return None if who is None or who.identity is None or is_junk(who.identity) else who


def _table(
    gallery: Gallery, path: pathlib.Path, found: SearchResult, i: int, marks: Sequence[Mark]
) -> str:
    """The matches of query `i`, a line each."""
    from magnifier_jax.evaluation.report.drawing import Mark
    from magnifier_jax.tables import table

    words = {Mark.RIGHT: "right", Mark.WRONG: "wrong", Mark.UNKNOWN: "-"}
    marked = gallery.identities is not None
    rows = [
        [
            str(rank),
            f"{distance:.4f}" if math.isfinite(distance) else "no part",
            str(name),
            *([words[mark]] if marked else []),
        ]
        for rank, (name, distance, mark) in enumerate(
            zip(found.names[i], found.distances[i], marks, strict=True), start=1
        )
    ]
    header = ["rank", "distance", "image", *(["match"] if marked else [])]
    return f"\n{printable(str(path))}\n" + table(header, rows, left=(2, 3), rules=False)


def _ranking(
    gallery: Gallery,
    path: pathlib.Path,
    found: SearchResult,
    i: int,
    marks: Sequence[Mark],
    *,
    folder: pathlib.Path,
) -> Ranking:
    from magnifier_jax.evaluation.report.drawing import Ranking, Shown

    matches = []
    for index, distance, mark in zip(
        found.indices[i][:_DRAWN], found.distances[i], marks, strict=False
    ):
        number = f"{distance:.3f}" if math.isfinite(distance) else "no part"
        picture = _read(folder / str(gallery.names[index]))
        matches.append(Shown(picture, (number, _title(gallery, int(index))), mark))
    who = _who(gallery, path)
    name = printable(path.name)
    captions = (name, _words(who)) if who else (name,)
    return Ranking(Shown(_read(path), captions), tuple(matches))


def _title(gallery: Gallery, index: int) -> str:
    """Who is on an image of the gallery, as far as it is known, or the image's name."""
    from input_pipeline.identities import UNKNOWN_CAMERA, Who, is_junk

    identity = None if gallery.identities is None else gallery.identities[index].item()
    if identity is None or is_junk(identity):
        return printable(pathlib.PurePath(str(gallery.names[index])).name)
    camera = None if gallery.cameras is None else int(gallery.cameras[index])
    return _words(Who(identity, None if camera == UNKNOWN_CAMERA else camera))


def _words(who: Who) -> str:
    person = f"{who.identity:04d}" if isinstance(who.identity, int) else str(who.identity)
    return printable(person if who.camera is None else f"{person} · camera {who.camera}")


def _read(path: pathlib.Path) -> np.ndarray | None:
    from input_pipeline.images import read_image

    try:
        return read_image(path, image_size=(2 * _CELL[0], 2 * _CELL[1]))
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
