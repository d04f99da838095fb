"""`magnifier explain`: why a network finds images alike."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from input_pipeline import console
from input_pipeline.errors import UserError
from input_pipeline.files import claim_output, open_whole, user_path, write_json, writing
from input_pipeline.images.folder import JUNK
from magnifier_jax.tables import table

if TYPE_CHECKING:
    import numpy as np

    from magnifier_jax.evaluation.explain import (
        Explainer,
        Explanation,
        MatchExplanation,
        PartStatistics,
    )
    from magnifier_jax.gallery import Gallery


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_explain, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier explain",
        description="Says why a network finds a query and other images alike: part by part, of "
        "the parts that both show; how much each branch adds to the squared distance; and where "
        "in both images the likeness lies. Draws it all as one image.",
    )
    add = parser.add_argument
    add(
        "--workdir",
        required=True,
        help="work directory of a training run, weights that `magnifier export` wrote, or `drawn`",
    )
    add("--query", type=pathlib.Path, required=True, metavar="IMAGE", help="the query")
    add(
        "--matches",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="images to compare it with",
    )
    add(
        "--gallery",
        type=pathlib.Path,
        metavar="FILE.npz",
        help="gallery file of magnifier embed: the images nearest to the query in it are the "
        "matches if none are given, and its people tell how similar parts usually are",
    )
    add("--top", type=console.positive, default=5, help="matches to take from the gallery (5)")
    add("--checkpoint", choices=["latest", "best"], default="latest", help="which checkpoint")
    add(
        "--output",
        type=pathlib.Path,
        metavar="FILE.png",
        help="PNG to write; if not given, it is named after the query, "
        "image.explanation.png, in the current folder. The numbers go beside it, as .json",
    )
    add("--force", action="store_true", help="replace these files if they are there")
    return parser


def _explain(options: argparse.Namespace) -> None:
    if not options.matches and options.gallery is None:
        raise UserError("There is nothing to compare with: give --matches or --gallery.")
    output = user_path(options.output or f"{options.query.stem}.explanation.png")
    if output.suffix.lower() != ".png":
        raise UserError(f"--output {output} must end with .png.")
    query, matches = user_path(options.query), [user_path(path) for path in options.matches]
    for path in (query, *matches):
        if not path.is_file():
            raise UserError(f"There is no image {path}.")
    sources = (query, *matches)
    with (
        claim_output(output, force=options.force, sources=sources) as drawing,
        claim_output(output.with_suffix(".json"), force=options.force, sources=sources) as numbers,
    ):
        found, names = _explain_images(options, query, matches)
        print(_table(found, [path.name for path in names]))
        with writing(drawing), open_whole(drawing) as file:
            drawn = found.draw(title=query.name, captions=[path.name for path in names])
            drawn.save(file, "PNG")
        images = [str(path) for path in names]
        write_json(numbers, {"query": str(query), "images": images, **found.to_mapping()})
        print(f"Drawing: {drawing}   Numbers: {numbers}")


def _explain_images(
    options: argparse.Namespace, query: pathlib.Path, matches: list[pathlib.Path]
) -> tuple[Explanation, list[pathlib.Path]]:
    """The explanation, and the files of the matches."""
    import numpy as np

    from magnifier_jax.devices import enable_compilation_cache
    from magnifier_jax.embedding.loading import load
    from magnifier_jax.evaluation.explain import Explainer
    from magnifier_jax.gallery import Gallery

    gallery = None if options.gallery is None else Gallery.load(user_path(options.gallery))
    enable_compilation_cache()
    trained = load(options.workdir, checkpoint=options.checkpoint).trained
    explainer = Explainer(trained, statistics=None if gallery is None else _usual(gallery))
    size = trained.config.data.image_size
    asked = _read(query, size)
    if not matches:
        assert gallery is not None
        matches = _nearest(gallery, explainer, asked, top=options.top, query=query)
    images = np.stack([_read(path, size) for path in matches])
    return explainer.explain(asked, images), matches


def _read(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
    from input_pipeline.images.codec import read_image

    try:
        return read_image(path, image_size=size)
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _usual(gallery: Gallery) -> PartStatistics | None:
    """How similar parts usually are, by the gallery's people; None where it does not tell."""
    import numpy as np

    from magnifier_jax.evaluation.explain import PartStatistics

    if gallery.parts is None or gallery.visible is None or gallery.identities is None:
        return None
    known = np.array([str(identity) != str(JUNK) for identity in gallery.identities])
    cameras = None if gallery.cameras is None else gallery.cameras[known]
    return PartStatistics.fit(
        np.asarray(gallery.parts[known], np.float32),
        gallery.visible[known],
        gallery.identities[known],
        cameras,
    )


def _nearest(
    gallery: Gallery, explainer: Explainer, image: np.ndarray, *, top: int, query: pathlib.Path
) -> list[pathlib.Path]:
    """Files of the gallery's nearest images, the query itself left out."""
    folder = pathlib.Path(gallery.notes.get("images", "")).expanduser()
    found = gallery.search(explainer.embed(image[None]).descriptor[:1], top=top + 1)
    paths = [folder / str(name) for name in found.names[0]]
    paths = [path for path in paths if path.resolve() != query.resolve()][:top]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"The gallery's image {missing[0]} is not there: name images with --matches."
        )
    return paths


def _table(found: Explanation, names: Sequence[str]) -> str:
    """A line a match: the distance, what the branches add to it, and every part."""
    first = found.matches[0]
    branches = [each.branch for each in first.branches]
    header = ["match", "distance", *branches, *(part.name for part in first.parts), "least alike"]
    rows = [_row(match, name) for match, name in zip(found.matches, names, strict=True)]
    scored = any(part.score is not None for match in found.matches for part in match.parts)
    unit = "deviations from what is usual for one person" if scored else "cosine of the embeddings"
    note = f"branches: share of the squared distance; parts: {unit}, - where hidden"
    return f"{table(header, rows, left=(0, len(header) - 1))}\n{note}"


def _row(match: MatchExplanation, name: str) -> list[str]:
    cells = []
    for part in match.parts:
        if part.score is not None:
            cells.append(f"{part.score:+.1f}")
        else:
            cells.append("-" if part.similarity is None else f"{part.similarity:.2f}")
    least = match.least_alike
    shares = [f"{branch.share:.0%}" for branch in match.branches]
    return [name, f"{match.distance:.3f}", *shares, *cells, "" if least is None else least.name]


if __name__ == "__main__":
    sys.exit(main())
