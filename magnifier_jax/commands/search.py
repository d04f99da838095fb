"""`python -m magnifier_jax.search`: finds the pictures of a gallery file that are most like one."""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from input_pipeline.errors import FilesError, UserError
from input_pipeline.identities import UNKNOWN_CAMERA, Who, is_junk, one_spelling, who_is_on
from input_pipeline.images import read_image
from magnifier_jax.commands import console
from magnifier_jax.devices import enable_compilation_cache, make_mesh
from magnifier_jax.embedding.forward import EmbeddedSplit
from magnifier_jax.embedding.model import FileDescriber, visible_parts
from magnifier_jax.evaluation.report.drawing import Mark, Ranking, Shown, ranking_sheet
from magnifier_jax.retrieval import Gallery, SearchResult

_CELL = (192, 96)  # height and width of a picture in the sheet
_COLUMNS = 10  # matches in a row of the sheet
_DRAWN = 50  # matches of a query in the sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_search, _parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m magnifier_jax.search",
        description="Lists the pictures of a gallery file that are most like a query, nearest "
        "first, and draws them. The gallery file, made by magnifier_jax.embed, knows its network "
        "and its pictures. Where the query's name (0002_c1_7.jpg) or folder (query/alice) tells "
        "its identity as in the gallery, matches are marked right or wrong.",
    )
    parser.add_argument(
        "--gallery", type=pathlib.Path, required=True, metavar="FILE.npz", help="gallery file"
    )
    parser.add_argument(
        "--query",
        type=pathlib.Path,
        required=True,
        nargs="+",
        metavar="PICTURE",
        help="one or more pictures to search for",
    )
    parser.add_argument("--top", type=console.positive, default=10, help="matches to list (10)")
    parser.add_argument(
        "--parts",
        action="store_true",
        help="compare only the body parts that both pictures show, so that what the query hides "
        "does not count against a match",
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="FILE.png",
        help="picture of the ranking to write; if not given, it is named after the (first) query, "
        "picture.ranking.png, in the current folder",
    )
    parser.add_argument(
        "--workdir",
        type=pathlib.Path,
        help="work directory of the network, if it has moved since the gallery was made",
    )
    parser.add_argument(
        "--images", type=pathlib.Path, metavar="DIR", help="folder of the pictures, if it has moved"
    )
    return parser


def _search(options: argparse.Namespace) -> None:
    paths = [path.expanduser() for path in options.query]
    output = options.output or pathlib.Path(f"{paths[0].stem}.ranking.png")
    output = output.expanduser()
    if output.suffix.lower() not in Image.registered_extensions():
        raise UserError(f"--output {output} must end as pictures do, such as .png.")
    gallery = Gallery.load(options.gallery.expanduser())
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(f"There is no picture {missing[0]}.")
    enable_compilation_cache()
    described = _describe(gallery, paths, workdir=options.workdir)
    found = _find(gallery, described, paths, top=options.top, parts=options.parts)
    folder = pathlib.Path(options.images or gallery.notes.get("images", "")).expanduser()
    marks = [_marks(gallery, path, found.indices[i], folder) for i, path in enumerate(paths)]
    for i, path in enumerate(paths):
        print(_table(gallery, path, found, i, marks[i]))
    rankings = [
        _ranking(gallery, path, found, i, marks[i], folder=folder) for i, path in enumerate(paths)
    ]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        ranking_sheet(rankings, cell=_CELL, columns=_COLUMNS).save(output)
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot write {output} ({error}): give another --output.") from error
    print(f"\n{_drawn(len(found.indices[0]))} drawn in {output.absolute()}")
    lost = [shown for ranking in rankings for shown in ranking.matches if shown.picture is None]
    if lost:
        print(
            f"{len(lost):,} pictures could not be read, from {folder.absolute()} on: say with "
            "--images where they are."
        )


def _drawn(matches: int) -> str:
    if matches > _DRAWN:
        return f"The first {_DRAWN} of {matches:,} matches are"
    return "The matches are" if matches > 1 else "The match is"


def _describe(
    gallery: Gallery, paths: Sequence[pathlib.Path], *, workdir: pathlib.Path | None
) -> EmbeddedSplit:
    """Describes the queries by the network that described the gallery, and by no other."""
    if not gallery.model or "workdir" not in gallery.notes:
        raise UserError(
            "The gallery file does not say which network made it, so no query can be described "
            "for it: make it with magnifier_jax.embed."
        )
    made_by, step = gallery.notes["workdir"], int(gallery.notes["step"])
    describer = FileDescriber.load(
        workdir or made_by, make_mesh(), which=step, flip=bool(gallery.notes["flip"])
    )
    if describer.model_id != gallery.model:
        raise UserError(
            f"The gallery was described by another network (step {step} of {made_by}) than the one "
            f"in {workdir or made_by}: name its work directory with --workdir, or describe the "
            "pictures again with magnifier_jax.embed."
        )
    files = describer.files(paths)
    described = describer(files, batch_size=min(len(paths), 64))
    if files.problems:
        raise FilesError("Give other pictures", [files.problems[i] for i in sorted(files.problems)])
    return described


def _find(
    gallery: Gallery,
    described: EmbeddedSplit,
    paths: Sequence[pathlib.Path],
    *,
    top: int,
    parts: bool,
) -> SearchResult:
    if not parts:
        return gallery.search(described.descriptors, top=top)
    if described.part_embeddings is None or described.part_shares is None:
        raise UserError("This network has no part embeddings: search without --parts.")
    visible = visible_parts(described.part_shares)
    unseen = np.flatnonzero(~visible.any(1))
    if len(unseen):
        raise UserError(
            f"The network sees no body part in {paths[unseen[0]]}: search without --parts."
        )
    return gallery.search_parts(described.part_embeddings, visible, top=top)


def _marks(
    gallery: Gallery, path: pathlib.Path, indices: np.ndarray, folder: pathlib.Path
) -> list[Mark]:
    """Whether each match is right; unknown for the query itself and without identities."""
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
    """Who is on a query, told as the gallery's identities are."""
    if gallery.identities is None:
        return None
    who = who_is_on(path, by_folder=gallery.identities.dtype.kind == "U")
    return None if who is None or who.identity is None else who


def _table(
    gallery: Gallery, path: pathlib.Path, found: SearchResult, i: int, marks: Sequence[Mark]
) -> str:
    """The matches of query `i`, a line each."""
    words = {Mark.RIGHT: "right", Mark.WRONG: "wrong", Mark.UNKNOWN: "-"}
    width = max(len("picture"), *(len(str(name)) for name in found.names[i]))
    lines = ["", str(path), f"{'rank':>4}  {'distance':>8}  {'picture':{width}}  match"]
    for rank, (name, distance, mark) in enumerate(
        zip(found.names[i], found.distances[i], marks, strict=True), start=1
    ):
        number = f"{distance:8.4f}" if math.isfinite(distance) else f"{'no part':>8}"
        lines.append(f"{rank:4}  {number}  {name!s:{width}}  {words[mark]}".rstrip())
    if gallery.identities is None:
        lines[2] = lines[2].removesuffix("  match")
        lines[3:] = [line.removesuffix("  -") for line in lines[3:]]
    return "\n".join(lines)


def _ranking(
    gallery: Gallery,
    path: pathlib.Path,
    found: SearchResult,
    i: int,
    marks: Sequence[Mark],
    *,
    folder: pathlib.Path,
) -> Ranking:
    matches = []
    for index, distance, mark in zip(
        found.indices[i][:_DRAWN], found.distances[i], marks, strict=False
    ):
        number = f"{distance:.3f}" if math.isfinite(distance) else "no part"
        picture = _read(folder / str(gallery.names[index]))
        matches.append(Shown(picture, (number, _title(gallery, int(index))), mark))
    who = _who(gallery, path)
    captions = (path.name, _words(who)) if who else (path.name,)
    return Ranking(Shown(_read(path), captions), tuple(matches))


def _title(gallery: Gallery, index: int) -> str:
    """Who is on a picture of the gallery, as far as it is known, or the picture's name."""
    identity = None if gallery.identities is None else gallery.identities[index].item()
    if identity is None or is_junk(identity):
        return pathlib.PurePath(str(gallery.names[index])).name
    camera = None if gallery.cameras is None else int(gallery.cameras[index])
    return _words(Who(identity, None if camera == UNKNOWN_CAMERA else camera))


def _words(who: Who) -> str:
    person = who.identity if isinstance(who.identity, str) else f"{who.identity:04d}"
    return person if who.camera is None else f"{person} · camera {who.camera}"


def _read(path: pathlib.Path) -> np.ndarray | None:
    try:
        return read_image(path, image_size=(2 * _CELL[0], 2 * _CELL[1]))
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
