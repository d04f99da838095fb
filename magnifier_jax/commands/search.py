"""`magnifier search`: finds the images of a gallery that are most like a query."""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import claim_output, open_whole, user_path, writing

if TYPE_CHECKING:
    from magnifier_jax.embedding.queries import Matches
    from magnifier_jax.gallery import Gallery
    from magnifier_jax.gallery.store import GalleryStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_search, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier search",
        description="Lists the images of a gallery that are most like a query, nearest "
        "first, and draws them. The gallery, made by `magnifier embed`, knows its network "
        "and its images. Where the query's name (0002_c1_7.jpg) or folder (query/alice) tells "
        "its identity as in the gallery, matches are marked right or wrong.",
    )
    add = parser.add_argument
    add(
        "--gallery",
        required=True,
        metavar="PLACE",
        help="gallery file (.npz), or the folder or URL of a gallery that grows",
    )
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
        "--together",
        action="store_true",
        help="search for all images of the query as one: they show the same person",
    )
    add(
        "--tracklets",
        action="store_true",
        help="list tracklets rather than images; the gallery's column 'tracklet' or names such as "
        "0001C1T0002F003.jpg tell which images are one",
    )
    add(
        "--where",
        metavar="FILTER",
        help="which images are searched, such as \"camera != 3 and time >= '2026-11-29T09:00'\"",
    )
    add(
        "--exclude",
        metavar="COLUMN[=VALUE]",
        action="append",
        default=[],
        help="leave out images that are alike in this column, such as those of the query's own "
        "camera or tracklet; the query's name or the gallery tells the value if it is not given",
    )
    add("--max-distance", type=float, metavar="X", help="leave out images that are farther than X")
    add(
        "--fpr",
        type=float,
        metavar="RATE",
        help="leave out images beyond the threshold of this false positive rate, such as 1e-3, "
        "which `magnifier gallery verify` notes in the gallery",
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
    from magnifier_jax.embedding.queries import Limits, search_images

    queries = [user_path(path) for path in options.query]
    output = _output(options.output, queries[0])
    gallery = open_gallery(options.gallery, workdir=options.workdir)
    sources = [*queries, *_image_at(output, gallery, options.images)]
    if "://" not in options.gallery:
        sources.append(user_path(options.gallery))
    limits = Limits(
        where=options.where,
        exclude=dict(_column(text) for text in options.exclude),
        max_distance=options.max_distance,
        fpr=options.fpr,
    )
    with claim_output(output, force=options.force, sources=sources) as target:
        found = search_images(
            gallery,
            queries,
            top=options.top,
            parts=options.parts,
            together=options.together,
            tracklets=options.tracklets,
            limits=limits,
            model=options.workdir,
            images=options.images,
        )
        print(found.table())
        _draw(found, target)
    print()
    print(printable(f"{_drawn(len(found.queries[0].names))} drawn in {target}"))
    if found.lost:
        folder = found.images.absolute()
        said = f"{found.lost:,} images could not be read, from {folder} on: say with --images where"
        print(printable(f"{said} they are."))


def open_gallery(place: str, *, workdir: str | None = None) -> Gallery | GalleryStore:
    """A gallery file, or a gallery that grows.

    Args:
        place: As a person names it.
        workdir: The network, where a gallery has images of several.

    Raises:
        UserError: There is no such gallery.
        DataError: It is damaged.
    """
    from magnifier_jax.gallery import Gallery

    if "://" not in place and (place.endswith(".npz") or user_path(place).is_file()):
        return Gallery.load(user_path(place))
    try:
        return Gallery.open(place)
    except UserError:
        if workdir is None:
            raise
    from magnifier_jax.embedding.loading import load

    return Gallery.open(place, network=load(workdir))


def _column(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


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


def _image_at(
    output: pathlib.Path, gallery: Gallery | GalleryStore, images: str | None
) -> list[pathlib.Path]:
    """The image of the gallery that stands where the ranking would be drawn, if any."""
    from magnifier_jax.embedding.queries import image_folder
    from magnifier_jax.gallery import Gallery

    if not output.exists():
        return []
    folder = image_folder(gallery, images)
    names = gallery.names if isinstance(gallery, Gallery) else gallery.names()
    paths = (folder / str(name) for name in names)
    return [path for path in paths if path.exists() and path.samefile(output)]


def _draw(found: Matches, output: pathlib.Path) -> None:
    sheet = found.sheet()
    with writing(output), open_whole(output) as file:
        try:
            sheet.save(file, _kind(output))
        except ValueError as error:  # as of a format that cannot hold so large an image
            raise UserError(f"Cannot write {output} ({error}): give another --output.") from error


def _drawn(matches: int) -> str:
    from magnifier_jax.embedding.queries import DRAWN

    if matches > DRAWN:
        return f"The first {DRAWN} of {matches:,} matches are"
    return "The matches are" if matches > 1 else "The match is"


if __name__ == "__main__":
    sys.exit(main())
